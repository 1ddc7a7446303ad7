"""What nobody has received is seen by whoever published it: how much a queue has, and how old the oldest is."""

from __future__ import annotations

import pytest

from afterword._celery import queues
from afterword._ledger.instrumentation import get_instrumentation
from tests.celery.stage import Stage
from tests.support.waiting import wait_until


@pytest.fixture
def impatient(stage: Stage) -> Stage:
    """Provide a stage that looks into its queues often."""
    instrumentation = get_instrumentation(stage.app)
    assert instrumentation is not None
    instrumentation.watch._every = 0.1
    return stage


def sample(stage: Stage, name: str, queue: str) -> float | None:
    """Return what the publisher tells of a queue."""
    labels = {"messaging_system": "redis", "messaging_destination_name": queue}
    return stage.registry.get_sample_value(f"background_task_queue_{name}", labels)


def test_a_queue_that_nobody_consumes(impatient: Stage):
    """Messages that no worker takes are counted by their publisher, and the oldest one grows old."""
    for _ in range(3):
        impatient.publish("works", queue="forgotten")
    wait_until(lambda: sample(impatient, "messages", "forgotten") == 3)
    assert impatient.counted() == {"scheduled works": 3}
    wait_until(lambda: (sample(impatient, "oldest_age_seconds", "forgotten") or 0) > 0.5)


def test_a_queue_that_is_consumed(impatient: Stage):
    """A queue that a worker empties has no messages, and nothing in it is old."""
    impatient.publish("works")
    wait_until(lambda: sample(impatient, "messages", "shop") == 1)
    impatient.worker("solo")
    impatient.settles("scheduled works", "started works", "ended works succeeded")
    wait_until(lambda: sample(impatient, "messages", "shop") == 0)
    assert sample(impatient, "oldest_age_seconds", "shop") == 0


def test_a_broker_that_is_gone(impatient: Stage, caplog: pytest.LogCaptureFixture):
    """A broker that does not answer costs nobody more than a second, and one line says what is not seen."""
    impatient.publish("works", queue="forgotten")
    wait_until(lambda: sample(impatient, "messages", "forgotten") == 1)
    impatient.redis.stop()
    try:
        wait_until(lambda: any("queues cannot be looked into" in line for line in caplog.messages))
    finally:
        impatient.redis.start()
    assert queues.EVERY_SECONDS == 15
