"""Events as OpenTelemetry log records: once each, with the names, ids and numbers of the other signals."""

from pathlib import Path

import pytest
from fastapi import BackgroundTasks, HTTPException
from opentelemetry import _logs
from pydantic import BaseModel

import afterword
from afterword.instrumentor import BackgroundTaskInstrumentor
from afterword.logs import OpenTelemetryLogs
from tests.otlp.receiver import Receiver
from tests.otlp.serving import PATIENT, process, uvicorn
from tests.otlp.visits import STORY, visit
from tests.support.asgi import ask, with_header
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs

pytestmark = pytest.mark.timeout(120)

SEVERITIES = {"succeeded": ("INFO", 9), "failed": ("ERROR", 17)}
WARNING = ("WARN", 13)


async def endpoint(tasks: BackgroundTasks) -> None:
    """Schedule a task that fails, and one that is skipped."""

    def charge_card() -> None:
        raise ValueError("declined")

    tasks.add_task(charge_card)
    tasks.add_task(print, "never")


def test_every_event_arrives_once(receiver: Receiver, tmp_path: Path):
    """Each run's outcome and each failed request arrives as one record, with the run's span as its context."""
    environment = receiver.environment | PATIENT
    if_native = {"OTEL_SERVICE_NAME": "orders"}
    with process(uvicorn, "configured_with_logs", tmp_path / "log", **environment, **if_native) as server:
        visit(server)
        server.stop()
    spans = {span.attributes["background_task.run.id"]: span for span in receiver.runs()}
    told = [record for record in receiver.events() if record.event.startswith("background_task.")]
    assert len(told) == len(spans) == len(STORY)
    for record in told:
        span = spans[record.attributes["background_task.run.id"]]
        outcome = span.attributes["background_task.outcome"]
        assert record.event == f"background_task.{outcome}"
        assert (record.severity_text, record.severity) == SEVERITIES.get(outcome, WARNING)
        assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
        shared = span.attributes.keys() & record.attributes.keys()
        assert {key: span.attributes[key] for key in shared} == {key: record.attributes[key] for key in shared}
        # FastAPI's own span names its function, also where the task's name is the same
        assert span.attributes.keys() - {"code.function.name"} <= record.attributes.keys()
        assert record.resource["service.name"] == "orders"
        assert record.raw.time_unix_nano > 0
        assert record.body.startswith(f"{record.attributes['background_task.name']} {outcome}")
    [refused] = [record for record in receiver.events() if record.event == "request.failed"]
    assert refused.severity_text == "WARN"
    assert refused.attributes["http.response.status_code"] == 409
    assert refused.attributes["http.route"] == "/refused"
    [line] = server.lines("request.failed")
    assert (refused.trace_id, refused.span_id) == (line["trace_id"], line["span_id"])


def test_a_failure_has_its_traceback(stage: InProcessStage, kept_logs: KeptLogs):
    """A failed task has `exception.*`; a skipped one has the reason and none."""
    ask(stage.app(endpoint, observers=[OpenTelemetryLogs(kept_logs.provider)]))
    failed, skipped = kept_logs.records
    assert failed.attributes["exception.type"] == failed.attributes["error.type"] == "ValueError"
    assert failed.attributes["exception.message"] == "declined"
    assert 'raise ValueError("declined")' in failed.attributes["exception.stacktrace"]
    assert skipped.attributes["error.type"] == "earlier_task_failed"
    assert "charge_card" in skipped.body
    assert not [key for key in skipped.attributes if key.startswith("exception.")]


def test_a_failed_request(stage: InProcessStage, kept_logs: KeptLogs):
    """A 5xx is an error with its traceback and the request's id; a 4xx is a record for debugging, without."""

    async def broken() -> None:
        raise RuntimeError("no database")

    async def missing() -> None:
        raise HTTPException(404)

    app = stage.fastapi()
    app.get("/broken")(broken)
    app.get("/missing")(missing)
    stage.instrument(app, observers=[OpenTelemetryLogs(kept_logs.provider, level="debug")])
    ask(app, "/broken", headers=with_header("x-request-id", "r-1"))
    ask(app, "/missing")
    server_error, client_error = kept_logs.records
    assert (server_error.event, client_error.event) == ("request.failed", "request.failed")
    assert (server_error.severity, client_error.severity) == (17, 5)
    assert "no database" in server_error.attributes["exception.stacktrace"]
    assert tuple(server_error.attributes["http.request.header.x-request-id"]) == ("r-1",)
    assert not [key for key in client_error.attributes if key.startswith("exception.")]


def test_the_input_of_a_validation_error_is_not_told(stage: InProcessStage, kept_logs: KeptLogs):
    """A validation error is told by its places, in a request and in a task."""

    class Order(BaseModel):
        number: int

    def parse(text: str) -> None:
        Order.model_validate({"number": text})

    async def order(order: Order) -> None:
        raise AssertionError("never called")

    async def schedule(tasks: BackgroundTasks) -> None:
        tasks.add_task(parse, "hunter2")

    app = stage.fastapi()
    app.post("/")(order)
    app.get("/")(schedule)
    stage.instrument(app, observers=[OpenTelemetryLogs(kept_logs.provider, level="debug")])
    ask(app, method="POST", headers=with_header("content-type", "application/json"), body=b'{"number": "hunter2"}')
    ask(app)
    request, task = (record for record in kept_logs.records if record.event.endswith(".failed"))
    assert "body.number: int_parsing" in request.body
    assert task.attributes["exception.message"] == "number: int_parsing"
    assert "hunter2" not in repr(kept_logs.records)


def test_an_exception_without_text(stage: InProcessStage, kept_logs: KeptLogs):
    """An exception whose text cannot be had is told all the same."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def fail() -> None:
        raise Unspeakable

    ask(stage.app_with(fail, observers=[OpenTelemetryLogs(kept_logs.provider)]))
    [record] = kept_logs.records
    assert record.attributes["error.type"].endswith("Unspeakable")
    assert "raise Unspeakable" in record.attributes["exception.stacktrace"]


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["scheduled", "started", "succeeded"]),
        ("info", ["succeeded"]),
        ("warning", []),
        ("error", []),
    ],
)
def test_the_level(level: str, events: list[str], stage: InProcessStage, kept_logs: KeptLogs):
    """What is less severe than the level is not sent."""
    ask(stage.app_with(stage.works("mail"), observers=[OpenTelemetryLogs(kept_logs.provider, level=level)]))
    assert [record.event for record in kept_logs.records] == [f"background_task.{event}" for event in events]
    assert {record.attributes["background_task.run.id"] for record in kept_logs.records} == (
        {stage.accounts.recorder.ended_runs[0].id} if events else set()
    )


def test_a_level_that_is_none_is_named():
    """A level that does not exist is an error that says which exist."""
    with pytest.raises(ValueError, match=r"^level: one of debug, info, warning, error is needed, not 'loud'"):
        OpenTelemetryLogs(level="loud")


def test_without_traces(stage: InProcessStage, kept_logs: KeptLogs):
    """Without spans the events are told all the same, without ids."""
    ask(stage.app_with(stage.works("mail"), traces=False, observers=[OpenTelemetryLogs(kept_logs.provider)]))
    assert [(record.event, record.trace_id) for record in kept_logs.records] == [("background_task.succeeded", 0)]


def test_a_provider_that_comes_later(stage: InProcessStage, kept_logs: KeptLogs, monkeypatch: pytest.MonkeyPatch):
    """Without a provider of its own it follows the global one, also one that is set after the first events."""
    app = stage.app_with(stage.works("mail"), observers=[OpenTelemetryLogs()])
    ask(app)
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", kept_logs.provider)
    ask(app)
    ask(app)
    assert [record.event for record in kept_logs.records] == ["background_task.succeeded"] * 2
    assert {record.resource["service.name"] for record in kept_logs.records} == {"kept"}


def test_the_variable(stage: InProcessStage, kept_logs: KeptLogs, monkeypatch: pytest.MonkeyPatch):
    """`AFTERWORD_OTEL_LOGS=true` adds it for zero code, beside observers that are given; the default is not to."""
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", kept_logs.provider)
    for value, events in (("false", 0), ("true", 1)):
        monkeypatch.setenv("AFTERWORD_OTEL_LOGS", value)
        app = stage.fastapi()

        @app.get("/")
        async def schedule(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        observers = [stage.accounts.recorder]
        BackgroundTaskInstrumentor.instrument_app(app, observers=observers, **stage.settings)
        ask(app)
        assert len(kept_logs.records) == events
        afterword.uninstrument(app)
    assert stage.outcomes == [("mail", "succeeded")] * 2
