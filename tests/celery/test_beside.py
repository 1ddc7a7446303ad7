"""Beside others: OpenTelemetry contrib's spans are adopted, whoever was first, and none is there twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from celery import current_app
from opentelemetry import baggage, trace
from opentelemetry import context as otel

from tests.celery.stage import Stage


@pytest.fixture
def contrib(stage: Stage) -> Iterator[None]:
    """Install contrib's instrumentation in the publishing process, after us."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    before = current_app._get_current_object()
    stage.app.set_current()  # contrib ends the span at once if the current application does not know the task
    instrumentor = CeleryInstrumentor()
    instrumentor.instrument(tracer_provider=stage.provider)
    yield
    instrumentor.uninstrument()
    before.set_current()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_spans_are_adopted(stage: Stage, contrib: None, when: str, pool: str):
    """One PRODUCER and one CONSUMER span for an attempt, with contrib's scope, our names and our outcome."""
    stage.worker(pool, SHOP_CONTRIB=when)
    result = stage.publish("works")
    stage.tells(result.id, "succeeded")
    stage.settles("scheduled works", "started works", "ended works succeeded")
    produced, consumed = sorted(stage.spans(), key=lambda span: str(span["kind"]), reverse=True)
    assert (produced["name"], consumed["name"]) == ("publish shop.works", "background_task shop.works")
    assert produced["scope"] == consumed["scope"] == "opentelemetry.instrumentation.celery"
    assert consumed["parent"] == produced["span"]
    assert consumed["attributes"]["celery.state"] == "SUCCESS"


def test_a_failure_is_recorded_once(stage: Stage, contrib: None):
    """A span of contrib's that is adopted has the exception, and says that it failed."""
    stage.worker("prefork", SHOP_CONTRIB="after")
    result = stage.publish("fails")
    stage.tells(result.id, "failed exception")
    [span] = [span for span in stage.spans(result.id) if span["kind"] == "CONSUMER"]
    assert (span["status"], span["events"].count("exception")) == ("ERROR", 1)


def test_a_failed_publish_leaves_no_span_open(stage: Stage, contrib: None):
    """Contrib never ends the span of a publish that fails, and leaves it current; with us it ends."""
    before = trace.get_current_span()
    with pytest.raises(Exception, match="no-such-serializer"):
        stage.publish("works", serializer="no-such-serializer")
    assert trace.get_current_span() is before
    assert [span["status"] for span in stage.spans()] == ["ERROR"]


def test_what_was_bound_and_the_baggage_travel(stage: Stage):
    """What is bound where a task is published is on its lines in the worker, and the baggage is in its context."""
    stage.worker()
    token = otel.attach(baggage.set_baggage("tenant", "blue"))
    try:
        with structlog.contextvars.bound_contextvars(order=7):
            result = stage.publish("works")
    finally:
        otel.detach(token)
    stage.tells(result.id, "succeeded")
    [line] = stage.lines(result.id)
    assert line["order"] == 7
    own = [line for line in stage.read("lines.jsonl") if line["event"] == "working"]
    assert [(each["order"], each["task"], each["task_run"]) for each in own] == [(7, "shop.works", result.id)]


def test_a_worker_without_us(stage: Stage):
    """A worker that is not instrumented runs what an instrumented process publishes, as ever."""
    stage.worker("solo", SHOP_BARE="yes")
    result = stage.publish("works", 5)
    assert result.get(timeout=30) == 5
