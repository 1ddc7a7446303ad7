"""What a message carries and says of itself, without a broker: each broker takes it, and each reader bears it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from amqp.serialization import dumps
from celery import Celery, Task, signals
from celery.app.task import Context
from prometheus_client import CollectorRegistry

import afterword
from afterword._celery import attempts, headers, pipe, redelivery
from afterword._celery.instrumentation import CeleryInstrumentation, find
from afterword._common.model import RequestInfo, TaskRun
from tests.celery.stage import Numbers, numbers_of


class Office:
    """An application that publishes into its own memory."""

    def __init__(self, **settings: Any) -> None:
        self.app = Celery("office", broker="memory://", set_as_current=False)
        self.app.conf.update(settings)
        self.registry = CollectorRegistry()
        afterword.instrument(self.app, registry=self.registry)

        @self.app.task(name="shop.works", shared=False, bind=True, max_retries=5)
        def works(task: Task, times: int = 0) -> None:
            if task.request.retries < times:
                raise task.retry(countdown=0)

        self.works: Any = works

    @property
    def known(self) -> CeleryInstrumentation:
        known = find(self.app)
        assert known is not None
        return known

    def counted(self) -> Numbers:
        """Return the account."""
        return numbers_of(sample for family in self.registry.collect() for sample in family.samples)

    def close(self) -> None:
        afterword.uninstrument(self.app)
        self.app.close()


@pytest.fixture
def office(request: pytest.FixtureRequest) -> Iterator[Office]:
    """Provide an office with the settings of the test."""
    office = Office(**getattr(request, "param", {}))
    yield office
    office.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("order", 2**63, id="a number that is too great"),
        pytest.param("order", -(10**5000), id="a number that no text has"),
        pytest.param("weight", float("nan"), id="no number"),
        pytest.param("weight", float("inf"), id="no end"),
        pytest.param("x" * 300, 1, id="a long name"),
        pytest.param("\u00e9" * 200, 1, id="a long name in bytes"),
        pytest.param("", 1, id="no name"),
    ],
)
def test_what_a_broker_refuses_stays_here(name: str, value: Any):
    """A bound variable that AMQP or strict JSON refuses keeps no message from being sent: it stays behind."""
    with structlog.contextvars.bound_contextvars(**{name: value, "customer": "c-1"}):
        carried = headers.origin(None)
    assert carried == {"bound": {"customer": "c-1"}}
    assert dumps("F", [carried])


def test_no_text_is_sent_that_is_not_told():
    """A bound text travels as it is told: cut, and without what no encoding has."""
    with structlog.contextvars.bound_contextvars(text="\ud800" + "x" * 1000):
        [text] = headers.origin(None)["bound"].values()
    assert text.startswith("\\ud800")
    assert len(text) == 200


def test_how_often_a_message_says_it_was_tried(office: Office):
    """A message that says it was tried 10 to the 100 times gets a number that OpenTelemetry can export."""
    run = office.known.run_of(office.app, "shop.works", {"retries": 10**100})
    assert run.attempt is not None
    assert 1 < run.attempt < 2**63


@pytest.mark.parametrize("at", [1e10, 1e300, float("inf"), float("nan"), 10**400, -1, True, "now"])
def test_a_moment_that_nobody_can_tell(at: Any):
    """A message from a moment that has no nanoseconds in 64 bits does not say when it was published."""
    assert headers.published_at({headers.AT: at}) is None


def test_a_naive_eta_is_read_as_celery_reads_it(monkeypatch: pytest.MonkeyPatch):
    """A countdown's end without a time zone is UTC, whatever the host's clock says."""
    aware = datetime.fromisoformat("2026-11-30T12:00:00+00:00").timestamp()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert redelivery.due("2026-11-30T12:00:00") == aware
        assert redelivery.due("2026-11-30T12:00:00+00:00") == aware
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("address", "system"),
    [
        (["redis://one", "redis://two"], "redis"),
        ("rediss://one;redis://two", "redis"),
        ("redis", "redis"),
        ("librabbitmq://one", "rabbitmq"),
        ("gcpubsub://one", "gcp_pubsub"),
        ("://", "other"),
    ],
)
def test_what_a_broker_is_called(office: Office, address: Any, system: str):
    """A broker is called as OpenTelemetry calls it, in whichever way Celery takes its address."""
    app: Any = SimpleNamespace(conf=SimpleNamespace(broker_write_url=None, broker_url=address))
    assert office.known.system(app) == system


def test_a_publish_that_begins_with_retries(office: Office):
    """Who publishes a task as if it had been tried before publishes a task; only who tries it again does not."""
    office.works.apply_async(retries=2)
    assert office.counted() == {"scheduled works": 1}


def test_what_the_main_process_tries_again(office: Office):
    """The next attempt of a task whose child was lost is published by the main process, and is no other task."""
    with attempts.trying_again(Context(id="t")):
        office.works.apply_async(retries=1, task_id="t")
        assert office.counted() == {}
        office.works.apply_async(retries=1, task_id="other")
    assert office.counted() == {"scheduled works": 1}


def test_an_eager_call_that_begins_with_retries(office: Office):
    """Who calls a task as if it had been tried before has called one, and Celery's next try belongs to it."""
    office.works.apply([3], retries=2)
    assert office.counted() == {
        "scheduled works": 1,
        "started works": 2,  # the third and the fourth
        "returned works retry": 1,
        "ended works succeeded": 1,
    }


@pytest.mark.parametrize("office", [{"task_protocol": 1}], indirect=True)
def test_the_first_protocol(office: Office):
    """A message of Celery's first protocol says beside its headers which task it is, and they arrive apart."""
    sent: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def keep(headers: dict[str, Any], body: dict[str, Any], **more: Any) -> None:
        sent.append((headers, body))

    signals.after_task_publish.connect(keep, weak=False)
    try:
        with structlog.contextvars.bound_contextvars(customer="c-1"):
            result = office.works.delay()
    finally:
        signals.after_task_publish.disconnect(keep)
    [(ours, body)] = sent
    run = office.known.run_of(office.app, "shop.works", {**body, "headers": ours})
    assert (run.id, run.attempt) == (result.id, 1)
    assert run.scheduled_at == ours[headers.AT]
    assert headers.bound_by(headers.said_of({**body, "headers": ours})) == {"customer": "c-1"}


def test_a_message_to_the_main_process_is_written_in_one_piece(office: Office):
    """Whatever names a child meets, its message to the main process is short enough to be written at once."""
    longest = "\U0001f600" * 200
    run = TaskRun(longest, longest, RequestInfo("GET", longest, longest), 0, is_async=False)
    run.id = run.detail = longest
    run._destination = headers.queue(longest * 50)
    error = type(longest, (Exception,), {})()
    message = pipe._message(office.known.number, pipe.FAIL, run, longest, error)
    assert len(message) <= min(4096, os.pathconf("/", "PC_PIPE_BUF"))
    assert b"publish" in message
