"""The accounts that Afterword keeps of the same events, each read back as a story."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from afterword import RequestInfo, TaskObserver, TaskRun
from tests.support.numbers import MeterAccount, PrometheusAccount
from tests.support.story import OUTCOMES, Ended, RequestError, Story, assert_same, short

RUN_ID = "background_task.run.id"
PEER_SPANS = ("fastapi.background_task", "BackgroundTask ")


def full_name(exc: BaseException) -> str:
    """Return the exception's type as telemetry names it."""
    cls = type(exc)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


class Recorder(TaskObserver):
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.scheduled_runs: list[TaskRun] = []
        self.started_runs: list[TaskRun] = []
        self.ended_runs: list[TaskRun] = []
        self.exceptions: list[BaseException | None] = []
        self.failed_requests: list[RequestError] = []

    def scheduled(self, run: TaskRun) -> None:
        with self._lock:
            self.scheduled_runs.append(run)

    def started(self, run: TaskRun) -> None:
        with self._lock:
            self.started_runs.append(run)

    def ended(self, run: TaskRun) -> None:
        with self._lock:
            self.ended_runs.append(run)
            self.exceptions.append(run.exception)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        error = RequestError(_text(info.status), full_name(exc), _text(info.route), _text(info.method))
        with self._lock:
            self.failed_requests.append(error)

    error_answered = request_failed

    def run(self, name: str) -> TaskRun:
        """Return the one run of that name."""
        [run] = [run for run in self.ended_runs if short(run.name) == name]
        return run

    def story(self) -> Story:
        story = Story(
            scheduled=Counter(short(run.name) for run in self.scheduled_runs),
            started=Counter(short(run.name) for run in self.started_runs),
        )
        for run in list(self.ended_runs):
            reason = None if run.reason is None else str(run.reason)
            story.add_end(Ended(short(run.name), str(run.outcome), reason, run.error_type))
        for error in list(self.failed_requests):
            story.add_error(error)
        return story

    def assert_well_told(self) -> None:
        """Each run was scheduled, perhaps started, and ended once, by the same object."""
        for runs in (self.scheduled_runs, self.started_runs, self.ended_runs):
            assert len({id(run) for run in runs}) == len(runs)
        assert {id(run) for run in self.started_runs} <= {id(run) for run in self.scheduled_runs}
        assert {id(run) for run in self.ended_runs} <= {id(run) for run in self.scheduled_runs}
        for run, exception in zip(self.ended_runs, self.exceptions, strict=True):
            assert run.exception is None, "an exception is kept after the observers were told"
            if run.reason == "exception":
                assert exception is not None
                assert full_name(exception) == run.error_type


class Spans:
    """What the trace says."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def all(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def of_runs(self) -> list[ReadableSpan]:
        return [span for span in self.all() if RUN_ID in (span.attributes or {})]

    def of(self, name: str) -> ReadableSpan:
        """Return the one span of the one run of that task."""
        [span] = [span for span in self.of_runs() if short(_attribute(span, "background_task.name")) == name]
        return span

    def story(self) -> Story:
        story = Story(scheduled=None, started=None, errors=None)
        for span in self.of_runs():
            name, outcome, reason, error_type = (
                _attribute(span, key)
                for key in (
                    "background_task.name",
                    "background_task.outcome",
                    "background_task.reason",
                    "error.type",
                )
            )
            story.add_end(Ended(short(name), outcome, reason, error_type))
        return story

    def assert_one_per_run(self, runs: Iterable[TaskRun], *, peers_keep_some: bool) -> None:
        """One span per run, named after it, and none left over from FastAPI's or contrib's own tracing."""
        spans = self.of_runs()
        assert Counter(_attribute(span, RUN_ID) for span in spans) == Counter(run.id for run in runs)
        for span in spans:
            name, outcome = (
                _attribute(span, "background_task.name"),
                _attribute(span, "background_task.outcome"),
            )
            assert span.name == f"background_task {name}"
            if outcome != "cancelled":  # neither an error nor a success: left to the trace backend's habits
                assert span.status.is_ok == (outcome == "succeeded"), f"{name} is {outcome}: {span.status}"
        if not peers_keep_some:
            left_over = [s.name for s in self.all() if s.name.startswith(PEER_SPANS)]
            assert not left_over, f"spans beside the runs' own: {left_over}"


def _attribute(span: ReadableSpan, key: str) -> Any:
    return (span.attributes or {}).get(key)


@contextmanager
def restored_structlog() -> Iterator[None]:
    """Give structlog back the configuration it had."""
    had_configuration, configuration = structlog.is_configured(), structlog.get_config()
    try:
        yield
    finally:
        structlog.reset_defaults()
        if had_configuration:
            structlog.configure(**configuration)


class Lines:
    """What the log says; a structlog processor that keeps the lines instead of writing them."""

    def __init__(self) -> None:
        self.entries: list[MutableMapping[str, Any]] = []

    def __call__(self, _: Any, level: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry["log_level"] = level
        self.entries.append(entry)
        raise structlog.DropEvent

    def configure(self) -> None:
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, self], cache_logger_on_first_use=False
        )

    def named(self, event: str) -> list[MutableMapping[str, Any]]:
        return [entry for entry in list(self.entries) if entry.get("event") == event]

    def of_requests(self) -> list[MutableMapping[str, Any]]:
        return self.named("request.failed")

    def of_answered_errors(self) -> list[MutableMapping[str, Any]]:
        return self.named("request.error_answered")

    def story(self) -> Story:
        story = Story(
            scheduled=Counter(short(entry["task"]) for entry in self.named("background_task.scheduled")),
            started=Counter(short(entry["task"]) for entry in self.named("background_task.started")),
        )
        for outcome in OUTCOMES:
            for entry in self.named(f"background_task.{outcome}"):
                reason, error_type = entry.get("reason"), entry.get("error_type")
                reason = None if reason is None else str(reason)
                story.add_end(Ended(short(entry["task"]), outcome, reason, error_type))
        for entry in self.of_requests() + self.of_answered_errors():
            keys = ("http_status", "error_type", "http_route", "http_method")
            fields = [_text(entry.get(key)) for key in keys]
            story.add_error(RequestError(*fields))
        return story

    def assert_levels(self) -> None:
        """Say it as loudly as it is bad: a traceback only for what somebody has to repair."""
        levels = {"succeeded": "info", "failed": "error"}
        for outcome in OUTCOMES:
            for entry in self.named(f"background_task.{outcome}"):
                assert entry["log_level"] == levels.get(outcome, "warning")
                with_traceback = outcome == "failed" and entry.get("reason") == "exception"
                assert bool(entry.get("exc_info")) == with_traceback, entry
        for entry in self.of_requests():
            status = int(entry.get("http_status", 0))
            if 400 <= status < 500:  # anybody can make those
                assert entry["log_level"] in {"debug", "warning"}
            else:
                assert entry["log_level"] == "error"
            assert bool(entry.get("exc_info")) == (entry["log_level"] == "error"), entry
        for entry in self.of_answered_errors():
            assert entry["log_level"] in {"info", "warning"}
            assert 200 <= entry["http_status"] < 300


class Accounts:
    """All of them, of one instrumented application."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.prometheus = PrometheusAccount()
        self.meter = MeterAccount()
        self.spans = Spans()
        self.lines = Lines()

    def settings(self) -> dict[str, Any]:
        """Return what ``instrument`` is given, so that it tells these accounts; the observer comes beside."""
        return {
            "tracer_provider": self.spans.provider,
            "meter_provider": self.meter.provider,
            "registry": self.prometheus.registry,
        }

    def assert_story(self, expected: Story, *, peers_keep_some: bool = False, settled: bool = True) -> None:
        """Compare the observer's story with the expected one, and all other signals with the observer's."""
        observed = self.recorder.story()
        assert_same(observed, expected, "observer")
        assert_same(self.prometheus.story(), observed, "prometheus")
        assert_same(self.meter.story(), observed, "otel metrics")
        assert_same(self.spans.story(), observed, "spans")
        assert_same(self.lines.story(), observed, "log")
        self.recorder.assert_well_told()
        self.spans.assert_one_per_run(self.recorder.ended_runs, peers_keep_some=peers_keep_some)
        self.lines.assert_levels()
        self.prometheus.assert_law(settled=settled)
        self.meter.assert_law(settled=settled)

    def shutdown(self) -> None:
        self.meter.provider.shutdown()
        self.spans.provider.shutdown()
