"""An ordinary task costs no round trip to the broker: Redis itself counts its commands."""

from __future__ import annotations

from collections import Counter
from time import time

import afterword
from afterword._celery import redelivery
from tests.celery.stage import Stage
from tests.support.waiting import wait_until

TASKS = 20


def commands(stage: Stage) -> Counter[str]:
    """Return how often each command was called since the start of counting."""
    stats = stage.redis.client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})


def played(stage: Stage, **environment: str) -> Counter[str]:
    """Run some tasks, and return the commands that they and their results took."""
    worker = stage.worker("solo", **environment)
    stage.publish("works")
    wait_until(lambda: commands(stage)["hdel"] and commands(stage)["setex"])
    stage.redis.client.config_resetstat()
    for _ in range(TASKS):
        stage.publish("works")
    wait_until(lambda: min(commands(stage)["hdel"], commands(stage)["setex"]) >= TASKS)
    found = commands(stage)
    worker.kill()
    stage.workers.remove(worker)
    stage.redis.client.config_resetstat()
    return found


def test_an_ordinary_task_asks_the_broker_nothing(stage: Stage):
    """With Afterword in the publisher and in the worker, no command of Redis is called once more for a task."""
    ours = played(stage)
    afterword.uninstrument(stage.app)
    bare = played(stage, SHOP_BARE="yes")
    assert bare["lpush"] >= TASKS  # what a publish is, so that they are counted at all
    assert {name: (calls, bare[name]) for name, calls in ours.items() if calls - bare[name] > TASKS / 2} == {}


def test_redis_is_asked_from_half_of_its_patience_on():
    """Redis noted a message before the worker received it, so it may have given it away somewhat earlier."""
    assert not redelivery.may_be_taken(time() - 400, 1000, {"redelivered": None})
    assert redelivery.may_be_taken(time() - 600, 1000, {})


def test_redis_is_always_asked_about_a_copy():
    """The first copy may end, and be acknowledged, when the second one has just been received."""
    assert redelivery.may_be_taken(time(), 1000, {"redelivered": True})
