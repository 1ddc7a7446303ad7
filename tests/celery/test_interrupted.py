"""What interrupts a task: limits, signals, revocations, shutdowns. It ends once, whoever is left to tell."""

from __future__ import annotations

import itertools
import signal
import time
from typing import Any

import pytest

from tests.celery.stage import SECONDS, Stage, Worker
from tests.celery.versions import PUTS_BACK, SEARCHES_OFTEN, TERMINATES_GREENLETS
from tests.support.waiting import wait_until


def revoked(stage: Stage, task_id: str, **options: bool) -> None:
    """Revoke a task, and wait until the worker knows; one that is busy with a task answers when it is not."""
    stage.app.control.revoke(task_id, **options)
    wait_until(lambda: task_id in str(stage.app.control.inspect(timeout=1).revoked()), 60)


@pytest.mark.parametrize("pool", ["prefork", pytest.param("gevent", marks=TERMINATES_GREENLETS)])
def test_revoked(stage: Stage, pool: str):
    """A task that is terminated while it runs is cancelled; one that is revoked before it begins is dropped."""
    stage.worker(pool, "-c1")
    first = stage.publish("waits", "gate")
    stage.wait_begun("gate")
    second = stage.publish("works", countdown=8)  # by then the worker knows that it is revoked
    wait_until(lambda: stage.counted()["held works"] == 1)
    revoked(stage, second.id)
    revoked(stage, first.id, terminate=True)
    stage.settles(
        *("scheduled waits", "started waits", "ended waits cancelled", "scheduled works", "ended works dropped")
    )
    stage.tells(first.id, "cancelled revoked")
    stage.tells(second.id, "dropped revoked")


def test_what_threads_cannot_interrupt(stage: Stage):
    """A pool of threads can neither terminate a task nor keep its limit: it goes on, and its account with it."""
    stage.worker("threads")  # of two threads: one that is full may receive nothing for ten seconds
    first = stage.publish("waits_hard", "gate")
    stage.wait_begun("gate")
    second = stage.publish("works", countdown=8)  # by then the worker knows that it is revoked
    wait_until(lambda: stage.counted()["held works"] == 1)
    revoked(stage, second.id)
    stage.app.control.revoke(first.id, terminate=True)
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 1)  # the limit is half a second
    stage.open("gate")
    stage.settles(
        *("scheduled waits_hard", "started waits_hard", "ended waits_hard succeeded"),
        *("scheduled works", "ended works dropped"),
    )
    stage.tells(first.id, "succeeded")
    stage.tells(second.id, "dropped revoked")


def test_what_solo_cannot_interrupt(stage: Stage):
    """A worker that runs its tasks itself hears of nothing meanwhile: its task goes on, and succeeds."""
    stage.worker("solo")
    result = stage.publish("waits_hard", "gate")
    stage.wait_begun("gate")
    stage.app.control.revoke(result.id, terminate=True)
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 1)
    stage.open("gate")
    stage.settles("scheduled waits_hard", "started waits_hard", "ended waits_hard succeeded")
    stage.tells(result.id, "succeeded")


def test_soft_time_limit(stage: Stage):
    """A task that runs into its soft time limit raises, and has failed."""
    stage.worker()
    result = stage.publish("soft")
    stage.settles("scheduled soft", "started soft", "ended soft failed")
    stage.tells(result.id, "failed exception")


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_hard_time_limit(stage: Stage, pool: str):
    """A task that runs into its hard time limit has failed: time_limit, once."""
    stage.worker(pool)
    result = stage.publish("hard")
    stage.settles("scheduled hard", "started hard", "ended hard failed")
    stage.tells(result.id, "failed time_limit")
    [line] = stage.lines(result.id)
    assert line["error_type"].endswith("TimeLimitExceeded")


def test_a_killed_child(stage: Stage):
    """A task whose process is killed has failed: worker_lost, told by the main process, which knows the signal."""
    stage.worker()
    result = stage.publish("killed")
    stage.settles("scheduled killed", "started killed", "ended killed failed")
    stage.tells(result.id, "failed worker_lost")
    [line] = (line for line in stage.lines(result.id) if line["event"] == "background_task.failed")
    assert "signal 9 (SIGKILL)" in line["error_text"]


def test_a_killed_child_whose_message_goes_back(stage: Stage):
    """Where the message of a lost child goes back, the attempt is returned, and the next one ends the task."""
    stage.worker()
    result = stage.publish("killed_once")
    stage.settles(
        *("scheduled killed_once", "2 started killed_once"),
        *("returned killed_once worker_lost", "ended killed_once succeeded"),
    )
    stage.tells(result.id, "worker_lost", "succeeded")


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_exit(stage: Stage, pool: str):
    """A task that calls sys.exit takes its process along, if it has one, and has failed: worker_lost."""
    stage.worker(pool)
    result = stage.publish("exits")
    stage.settles("scheduled exits", "started exits", "ended exits failed")
    stage.tells(result.id, "failed worker_lost")


def test_the_rest_of_a_chain_after_a_killed_child(stage: Stage):
    """When the process of a chain's step is killed, the main process tells that the rest is skipped."""
    stage.worker()
    (stage.signature("killed", immutable=True) | stage.signature("works")).apply_async()
    stage.settles(
        *("scheduled killed", "started killed", "ended killed failed"), *("scheduled works", "ended works skipped")
    )


def told(stage: Stage, event: str) -> list[dict[str, Any]]:
    """Return the lines of an event that is no run's."""
    return [line for line in stage.read("lines.jsonl") if line["event"] == event]


def test_warm_shutdown(stage: Stage):
    """At a warm shutdown what runs ends, and what was only received is in the queue again.

    The worker says once for what it waits, and once that it has cut nothing off.
    """
    worker = stage.worker("prefork", "-c1")
    first = stage.publish("waits", "gate")
    stage.wait_begun("gate")
    second = stage.publish("works")
    wait_until(lambda: stage.counted()["held works"] == 1)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: told(stage, "shutdown.waiting"))
    stage.open("gate")
    worker.wait()
    [waiting], [ended] = told(stage, "shutdown.waiting"), told(stage, "shutdown.ended")
    [entry] = waiting["task_counts"]
    assert "waits: 1 running for up to " in entry
    assert (ended["task_counts"], ended["level"]) == ([], "info")
    assert stage.told(first.id) == ["succeeded"]
    assert stage.told(second.id) == []
    assert stage.redis.client.llen("shop") == 1


def shut_down_cold(stage: Stage, worker: Worker) -> None:
    """End a worker that runs one task, at once. Celery hangs if it does not know yet that it was accepted."""
    wait_until(lambda: sum(stage.counted()[f"running {name}"] for name in ("waits", "waits_late")) == 1)
    worker.signal(signal.SIGQUIT)
    worker.wait()


def test_cold_shutdown(stage: Stage):
    """A cold shutdown cancels a task whose message was acknowledged early: nothing will run it again."""
    worker = stage.worker()
    result = stage.publish("waits", "gate")
    stage.wait_begun("gate")
    shut_down_cold(stage, worker)
    stage.tells(result.id, "cancelled worker_shutdown")


def test_cold_shutdown_of_a_late_acknowledged_task(stage: Stage):
    """A cold shutdown puts a message back that is acknowledged late: its attempt is returned."""
    worker = stage.worker()
    result = stage.publish("waits_late", "gate")
    stage.wait_begun("gate")
    shut_down_cold(stage, worker)
    stage.tells(result.id, "worker_shutdown")
    if not PUTS_BACK:
        return
    stage.worker()
    stage.open("gate")
    stage.tells(result.id, "worker_shutdown", "succeeded")


def test_children_that_are_replaced(stage: Stage):
    """Children that end after so many tasks leave nothing out of the account."""
    stage.worker("prefork", "-c1", "--max-tasks-per-child=2")
    for _ in range(5):
        stage.publish("publishes")
    stage.settles(
        *("5 scheduled publishes", "5 started publishes", "5 ended publishes succeeded"),
        *("5 scheduled works", "5 started works", "5 ended works succeeded"),
    )


def test_a_long_task_that_keeps_its_message(stage: Stage):
    """A task that ran longer than Redis waits, but that nobody else was given, succeeds as any other."""
    stage.worker("prefork", "-c1", SHOP_SETTINGS="transport = dict(visibility_timeout=1)")
    result = stage.publish("waits_late", "gate")
    stage.wait_begun("gate")
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 2)
    stage.open("gate")
    stage.settles("scheduled waits_late", "started waits_late", "ended waits_late succeeded")
    stage.tells(result.id, "succeeded")


@SEARCHES_OFTEN
@pytest.mark.timeout(300)
def test_longer_than_the_visibility_timeout(stage: Stage):
    """Of copies that run at once, since Redis took the message away, one ends the task, others are returned."""
    settings = "transport = dict(visibility_timeout=3, unacked_restore_interval=1, unacked_restore_throttle=1)"
    for _ in range(2):
        stage.worker("prefork", "-c1", SHOP_SETTINGS=settings)
    result = stage.publish("waits_apart", "gate")
    stage.wait_begun("gate", 2)
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 4)  # so that both have had it for longer than Redis waits

    def is_over() -> bool:
        now = stage.counted()
        is_quiet = not any(key.startswith(("held", "running")) for key in now)
        return is_quiet and now["ended waits_apart succeeded"] > 0 and not stage.redis.client.llen("shop")

    for number in itertools.count(1):  # one after the other: of two in the same moment, both may count
        stage.open(f"gate{number}")
        wait_until(lambda: len(stage.told(result.id)) >= number or is_over(), SECONDS, stage.report)  # noqa: B023
        if is_over():
            break
    counted = stage.counted()
    ended, started = counted["ended waits_apart succeeded"], counted["started waits_apart"]
    assert counted["returned waits_apart taken_away"] == started - ended
    assert (ended, started > 1) == (1, True)
    stage.tells(result.id, *["taken_away"] * (started - 1), "succeeded")


@SEARCHES_OFTEN
def test_a_countdown_that_redis_does_not_wait_for(stage: Stage):
    """Each copy that Redis hands out during a long countdown runs, and counts: nobody could say which is it."""
    settings = "transport = dict(visibility_timeout=1, unacked_restore_interval=1, unacked_restore_throttle=1)"
    for _ in range(2):
        stage.worker("prefork", "-c1", SHOP_SETTINGS=settings)
    result = stage.publish("works", countdown=5)

    def is_over() -> bool:
        now = stage.counted()
        return now["started works"] > 1 and not any(key.startswith(("held", "running")) for key in now)

    wait_until(is_over, SECONDS, stage.report)
    counted = stage.counted()
    assert counted == {
        "scheduled works": 1,
        "started works": counted["started works"],
        "ended works succeeded": counted["started works"],
    }
    stage.tells(result.id, *["succeeded"] * counted["started works"])
