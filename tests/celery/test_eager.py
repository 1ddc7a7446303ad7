"""Tasks that Celery runs in the caller's process: scheduled, begun and ended there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery.exceptions import Reject, Retry

import afterword
from afterword.logs import OpenTelemetryLogs
from tests.celery.brokers import Redis
from tests.celery.conftest import one_stage
from tests.celery.stage import Stage
from tests.support.sdk_logs import KeptLogs


@pytest.fixture
def eager(tmp_path: Path, redis: Redis) -> Iterator[Stage]:
    """Provide a stage whose tasks run where they are called."""
    with one_stage(tmp_path, redis, task_always_eager=True) as stage:
        yield stage


def test_success(eager: Stage):
    """An eager task is scheduled, runs and succeeds at once."""
    result = eager.publish("works", 1)
    assert result.get() == 1
    assert eager.counted() == {"scheduled works": 1, "started works": 1, "ended works succeeded": 1}
    eager.tells(result.id, "succeeded")


def test_failure(eager: Stage):
    """An eager task that raises has failed; its caller gets a result, as without us."""
    result = eager.publish("fails")
    assert result.state == "FAILURE"
    assert eager.counted() == {"scheduled fails": 1, "started fails": 1, "ended fails failed": 1}
    eager.tells(result.id, "failed exception")


def test_failure_that_is_raised(eager: Stage):
    """An eager task whose exception reaches the caller has failed, too."""
    eager.app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no such order"):
        eager.publish("fails")
    assert eager.counted() == {"scheduled fails": 1, "started fails": 1, "ended fails failed": 1}


def test_retries(eager: Stage):
    """Retries of an eager task run inside it: one task, whose outer attempts are returned."""
    result = eager.publish("retries", 2)
    expected = {"scheduled retries": 1, "started retries": 3, "returned retries retry": 2}
    assert eager.counted() == {**expected, "ended retries succeeded": 1}
    eager.tells(result.id, "retry", "retry", "succeeded")


def test_a_retry_that_is_raised(eager: Stage):
    """Where exceptions reach the caller, a Retry does, too, and nobody tries its task again: it has failed."""
    eager.app.conf.task_eager_propagates = True
    with pytest.raises(Retry):
        eager.publish("retries", 2)
    assert eager.counted() == {"scheduled retries": 1, "started retries": 1, "ended retries failed": 1}
    [line] = eager.lines()
    assert line["error_type"] == "ConnectionError"


def test_a_message_that_is_not_there(eager: Stage):
    """An eager task that wants its message back in the queue has none: it has failed, rejected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eager.app.tasks["shop.works"], "run", raising(Reject("not now", requeue=True)))
        result = eager.publish("works")
    assert result.state == "REJECTED"
    assert eager.counted() == {"scheduled works": 1, "started works": 1, "ended works failed": 1}
    eager.tells(result.id, "failed rejected")


def raising(exc: Exception) -> Callable[..., None]:
    """Return a function that raises."""

    def run(*args: object) -> None:
        raise exc

    return run


def test_attempts_as_log_records(eager: Stage, kept_logs: KeptLogs):
    """As OpenTelemetry log records, too, an attempt that did not end its task is told, with its number and why."""
    observers = [OpenTelemetryLogs(kept_logs.provider)]
    afterword.instrument(eager.app, registry=None, tracer_provider=eager.provider, observers=observers)
    eager.publish("retries", 1, "fails")
    first, last = kept_logs.records
    assert (first.event, first.severity) == ("background_task.returned", 9)
    assert first.attributes["background_task.reason"] == "retry"
    assert first.attributes["background_task.attempt"] == 1
    assert (last.event, last.attributes["background_task.attempt"]) == ("background_task.failed", 2)
