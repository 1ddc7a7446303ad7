"""On RabbitMQ, where what happens to a message differs from Redis: it puts back at once, and tells no ages."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from afterword._ledger.instrumentation import get_instrumentation
from tests.celery import shop
from tests.celery.brokers import HAS_RABBITMQ, RabbitMQ, Redis, rabbitmq_server
from tests.celery.stage import Stage
from tests.support.accounts import restored_structlog
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not HAS_RABBITMQ, reason="no rabbitmq-server")


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Iterator[RabbitMQ]:
    """Provide a RabbitMQ."""
    with rabbitmq_server(tmp_path_factory.mktemp("rabbitmq"), redis) as server:
        yield server


@pytest.fixture
def stage(tmp_path: Path, rabbitmq: RabbitMQ, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Provide a stage whose queue is its own."""
    with restored_structlog():
        shop.logging_to(tmp_path)
        stage = Stage(tmp_path, rabbitmq)
        with stage.app.connection_for_write() as connection:
            queue = stage.app.amqp.queues["shop"].bind(connection.default_channel)
            queue.declare()
            # the last test's workers were killed: what they held comes back before they are forgotten
            wait_until(lambda: not queue.queue_declare(passive=True).consumer_count)
            queue.purge()
        yield stage
        stage.close()


def test_success_and_failure(stage: Stage):
    """The account is the same as on Redis, and spans name the broker."""
    stage.worker("prefork")
    first, second = stage.publish("works"), stage.publish("fails")
    stage.settles(
        *("scheduled works", "started works", "ended works succeeded"),
        *("scheduled fails", "started fails", "ended fails failed"),
    )
    stage.tells(first.id, "succeeded")
    stage.tells(second.id, "failed exception")
    assert {span["attributes"]["messaging.system"] for span in stage.spans(first.id)} == {"rabbitmq"}
    assert {span["attributes"]["messaging.destination.name"] for span in stage.spans(first.id)} == {"shop"}


def test_retries_and_requeues(stage: Stage):
    """Retries and messages that are put back are attempts of one task."""
    stage.worker("prefork")
    first, second = stage.publish("retries", 1), stage.publish("requeues")
    stage.settles(
        *("scheduled retries", "2 started retries", "returned retries retry", "ended retries succeeded"),
        *("scheduled requeues", "2 started requeues", "returned requeues requeued", "ended requeues succeeded"),
    )
    stage.tells(first.id, "retry", "succeeded")
    stage.tells(second.id, "requeued", "succeeded")


def test_a_killed_worker(stage: Stage, tmp_path: Path):
    """RabbitMQ delivers what a killed worker held at once; only what was acknowledged early is lost."""
    journal = str(tmp_path / "journal")
    worker = stage.worker("prefork", "-c2", AFTERWORD_JOURNAL=journal)
    early, late = stage.publish("waits", "gate"), stage.publish("waits_late", "gate")
    stage.wait_begun("gate", 2)
    # a message is acknowledged when the main process hears that a child has accepted it
    wait_until(lambda: stage.counted()["running waits"] == stage.counted()["running waits_late"] == 1)
    worker.kill()
    stage.workers.remove(worker)
    stage.open("gate")
    stage.worker("prefork", "-c2", AFTERWORD_JOURNAL=journal)
    stage.settles(
        *("scheduled waits", "lost waits"),
        *("scheduled waits_late", "started waits_late", "ended waits_late succeeded"),
    )
    assert stage.told(early.id) == ["lost"]
    stage.tells(late.id, "succeeded")


def test_cold_shutdown_of_a_late_acknowledged_task(stage: Stage):
    """A cold shutdown puts a message back that is acknowledged late: its attempt is returned."""
    worker = stage.worker()
    result = stage.publish("waits_late", "gate")
    stage.wait_begun("gate")
    wait_until(lambda: stage.counted()["running waits_late"] == 1)
    worker.signal(signal.SIGQUIT)
    worker.wait()
    stage.tells(result.id, "worker_shutdown")


def test_not_registered(stage: Stage):
    """A task that the worker does not know is abandoned, here, too."""
    stage.worker("solo")
    result = stage.app.send_task("shop.unheard_of")
    stage.settles("scheduled unheard_of", "ended unheard_of abandoned")
    stage.tells(result.id, "abandoned unregistered")


def test_the_depth_of_a_queue(stage: Stage):
    """The publisher sees how many messages nobody has received; RabbitMQ tells nothing of their age."""
    instrumentation = get_instrumentation(stage.app)
    assert instrumentation is not None
    instrumentation.watch._every = 0.1
    for _ in range(3):
        stage.publish("works")
    labels = {"messaging_system": "rabbitmq", "messaging_destination_name": "shop"}
    wait_until(lambda: stage.registry.get_sample_value("background_task_queue_messages", labels) == 3)
    assert stage.registry.get_sample_value("background_task_queue_oldest_age_seconds", labels) is None
