"""Whoever publishes: a task is scheduled before its message is sent, and dropped if it never is."""

from __future__ import annotations

import pytest
from opentelemetry import trace

from tests.celery.stage import Stage


def publishes(stage: Stage) -> dict[tuple[str, str], float]:
    """Return how many publishes there were, by queue and error."""
    return {
        (sample.labels["messaging_destination_name"], sample.labels["error_type"]): sample.value
        for family in stage.registry.collect()
        for sample in family.samples
        if sample.name == "background_task_publish_duration_seconds_count"
        if sample.labels["background_task_engine"] == "celery"
    }


def test_a_publish_is_counted_and_traced(stage: Stage):
    """A task that is published is scheduled once, and a PRODUCER span, child of the current one, says where to."""
    with trace.get_tracer("test", tracer_provider=stage.provider).start_as_current_span("request"):
        result = stage.publish("works")
    assert stage.counted() == {"scheduled works": 1}
    assert publishes(stage) == {("shop", ""): 1}
    [span] = stage.spans(result.id)
    assert (span["name"], span["kind"], span["status"]) == ("publish shop.works", "PRODUCER", "UNSET")
    attributes = span["attributes"]
    assert attributes["messaging.system"] == "redis"
    assert attributes["messaging.destination.name"] == "shop"
    assert attributes["messaging.operation.type"] == "send"
    [request] = [each for each in stage.spans() if each["name"] == "request"]
    assert (span["trace"], span["parent"]) == (request["trace"], request["span"])


def test_a_countdown_that_redis_does_not_wait_for(stage: Stage, caplog: pytest.LogCaptureFixture):
    """A countdown beyond the visibility time-out is warned of, once a task: its copies would all run."""
    for countdown in (10, 7200, 7200):
        stage.publish("works", countdown=countdown)
    [line] = [line for line in caplog.messages if "visibility_timeout" in line]
    assert "shop.works" in line
    assert stage.counted() == {"scheduled works": 3}


def test_a_publish_that_fails_is_dropped(stage: Stage):
    """A message that cannot be sent raises as without us, and its task is dropped: publish_failed."""
    with pytest.raises(Exception, match="no-such-serializer"):
        stage.publish("works", serializer="no-such-serializer")
    assert stage.counted() == {"scheduled works": 1, "ended works dropped": 1}
    [line] = stage.lines()
    assert (line["event"], line["reason"]) == ("background_task.dropped", "publish_failed")
    assert publishes(stage) == {("shop", "kombu.exceptions.SerializerNotInstalled"): 1}
    [span] = [each for each in stage.spans() if each["name"] == "publish shop.works"]
    assert (span["status"], span["attributes"]["background_task.outcome"]) == ("ERROR", "dropped")
