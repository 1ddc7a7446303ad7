"""A broker that is away: whoever publishes gets Celery's own error, and a worker's account outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kombu.exceptions
import pytest
import redis as redis_client

import afterword
from tests.celery import shop
from tests.celery.brokers import Redis, free_port, redis_server
from tests.celery.stage import SECONDS, Stage
from tests.celery.versions import HEARS_AGAIN
from tests.support.accounts import restored_structlog
from tests.support.waiting import wait_until


class Nowhere(Redis):
    """A Redis that is not there."""


@pytest.fixture(params=["another backend", "the same backend"])
def lonely(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Provide a stage whose broker is down, and perhaps its result backend with it."""
    redis = Nowhere(tmp_path)
    redis.port = free_port()
    policy = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    with restored_structlog():
        shop.logging_to(tmp_path)
        settings = {} if request.param == "the same backend" else {"result_backend": "cache+memory://"}
        stage = Stage(
            tmp_path,
            redis,
            task_publish_retry=False,
            result_backend_transport_options={"retry_policy": policy},
            redis_retry_on_timeout=False,
            **settings,
        )
        yield stage
        stage.close()


def test_a_broker_that_is_down(lonely: Stage):
    """A publish without a broker raises Celery's own error, and the task is scheduled and dropped, once."""
    with pytest.raises((kombu.exceptions.OperationalError, RuntimeError, redis_client.ConnectionError)):
        lonely.publish("works")
    assert lonely.counted() == {"scheduled works": 1, "ended works dropped": 1}
    [line] = lonely.lines()
    assert (line["task"], line["reason"]) == ("shop.works", "publish_failed")
    [span] = lonely.spans()
    assert (span["name"], span["status"]) == ("publish shop.works", "ERROR")
    assert afterword.running() == []


def test_a_publish_that_fails_inside_a_task(stage: Stage):
    """A child that cannot publish is told so, and the main process counts what it dropped."""
    stage.worker("prefork", "-c1")
    result = stage.publish("publishes_badly")
    stage.settles(
        *("scheduled publishes_badly", "started publishes_badly", "ended publishes_badly failed"),
        *("scheduled works", "ended works dropped"),
    )
    stage.tells(result.id, "failed exception")


@HEARS_AGAIN
def test_a_connection_that_breaks(stage: Stage):
    """What a worker has only received when its connection breaks is the broker's again, and ends once."""
    settings = "transport = dict(visibility_timeout=3, unacked_restore_interval=1, unacked_restore_throttle=1)"
    stage.worker("prefork", "-c1", SHOP_SETTINGS=settings)
    first = stage.publish("waits", "gate")
    stage.wait_begun("gate")
    second = stage.publish("works")
    wait_until(lambda: stage.counted()["held works"] == 1)
    stage.redis.client.client_kill_filter(_type="normal", skipme=True)
    stage.redis.client.client_kill_filter(_type="pubsub", skipme=True)
    wait_until(lambda: b"Connection to broker lost" in stage.workers[0].log.read_bytes(), 20, stage.report)
    stage.open("gate")
    stage.settles(
        *("scheduled waits", "started waits", "ended waits succeeded"),
        *("scheduled works", "started works", "ended works succeeded"),
    )
    stage.tells(first.id, "succeeded")
    stage.tells(second.id, "succeeded")


def test_a_connection_that_breaks_under_a_task_that_acknowledges_late(stage: Stage):
    """Celery cuts off what it could not acknowledge any more: that attempt is returned, and the next one ends."""
    stage.worker("prefork", "-c1")
    result = stage.publish("waits_late", "gate")
    stage.wait_begun("gate")
    wait_until(lambda: stage.counted()["running waits_late"] == 1)
    stage.redis.client.client_kill_filter(_type="normal", skipme=True)
    stage.redis.client.client_kill_filter(_type="pubsub", skipme=True)
    stage.wait_begun("gate", 2)
    stage.open("gate")
    stage.settles(
        *("scheduled waits_late", "2 started waits_late"),
        *("returned waits_late requeued", "ended waits_late succeeded"),
    )
    stage.tells(result.id, "requeued", "succeeded")


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_result_that_cannot_be_stored_any_more(stage: Stage, tmp_path: Path, pool: str):
    """When the result backend goes away while a task runs, its result is gone: failed, and once."""
    with redis_server(tmp_path) as results:
        no_retry = "dict(retry_policy=dict(max_retries=0, interval_start=0, interval_step=0, interval_max=0))"
        settings = f"result_backend_transport_options = {no_retry}"
        stage.worker(pool, SHOP_RESULTS=results.results, SHOP_SETTINGS=settings)
        result = stage.publish("waits", "gate")
        stage.wait_begun("gate")
        results.stop()
        stage.open("gate")
        stage.settles("scheduled waits", "started waits", "ended waits failed")
        stage.tells(result.id, "failed exception")


def test_a_broker_that_comes_later(tmp_path: Path):
    """A worker that is started before its broker waits for it, as ever, and then accounts for what it runs."""
    redis = Nowhere(tmp_path)
    redis.port = free_port()
    with restored_structlog(), ThreadPoolExecutor(1) as beside:
        shop.logging_to(tmp_path)
        stage = Stage(tmp_path, redis)
        try:
            starting = beside.submit(stage.worker, "prefork", "-c1")
            log = tmp_path / "w0.log"
            wait_until(lambda: log.exists() and b"Cannot connect" in log.read_bytes(), SECONDS)
            redis.start()
            starting.result()
            result = stage.publish("works")
            stage.settles("scheduled works", "started works", "ended works succeeded")
            stage.tells(result.id, "succeeded")
        finally:
            stage.close()
            redis.stop()
