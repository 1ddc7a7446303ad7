"""What is told of a dead process: the runs that were lost with it, and ends of which perhaps nobody has heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from opentelemetry import context as otel
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, TracerProvider, get_current_span, get_tracer

from .._common import __version__, semconv
from .._common.context import context_of, hex_ids
from .._common.faults import EXITS
from .._common.log import emit
from .._common.model import LOST, Outcome, lost_detail
from .severity import LEVELS

_NANOSECONDS: Final = 1_000_000_000
_LOST_LEVEL: Final = "warning"


class DeadRun(Protocol):
    """A run of a dead process, as somebody has written it down; what is not known is ``None``."""

    run: str
    task: str
    function: str | None
    method: str | None
    route: str | None
    request_id: str | None
    scheduled_at: float
    started_at: float | None
    ended_at: float | None
    duration: float | None
    thread_wait: float | None
    outcome: str | None
    state: str | None
    reason: str | None
    detail: str | None
    error_type: str | None
    error: str | None
    traceback: str | None
    trace_id: str | None
    span_id: str | None
    parent_trace_id: str | None
    parent_span_id: str | None
    pid: int | None
    recovered: bool


class DeadProcess(Protocol):
    """What a dead process has left."""

    @property
    def process(self) -> str:
        """Its id, which no other process has."""
        ...

    @property
    def pid(self) -> int:
        """Its pid, which another process may have by now."""
        ...

    @property
    def off(self) -> bool:
        """Whether it had stopped writing, so that nothing is known of what it had in flight."""
        ...

    @property
    def lost(self) -> Sequence[DeadRun]:
        """What it had in flight."""
        ...

    @property
    def recovered(self) -> Sequence[DeadRun]:
        """What had ended, but perhaps was not counted."""
        ...


@runtime_checkable
class CountsDead(Protocol):
    """Metrics."""

    def count_dead(self, dead: DeadProcess) -> None:
        """Make the numbers agree with what a dead process has left."""


Failed = Callable[[str, str, BaseException], None]
"""What is called with an error of ours: whose, where, and the error."""


class LostRuns:
    """Tells of the dead in the signals that an application has. An error in one of them spares the others."""

    def __init__(
        self, spans: SpansOfTheDead | None, *, logs: bool, metrics: Sequence[CountsDead], failed: Failed
    ) -> None:
        self._spans = spans
        self._logs = logs
        self._metrics = metrics
        self._failed = failed

    def tell(self, run: DeadRun) -> None:
        """Tell the end of a run; if it is ``recovered``, it may have been told before."""
        if self._spans is not None:
            self._try("telling", self._spans.tell, run)  # first: the line has the ids of the span
        if self._logs:
            self._try("telling", _log, run)

    def count(self, dead: DeadProcess) -> None:
        """Count what was lost."""
        for metrics in self._metrics:
            self._try("counting", metrics.count_dead, dead)

    def _try(self, what: str, action: Callable[[Any], None], subject: object) -> None:
        try:
            action(subject)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001  what cannot be told by one signal is told by the others
            self._failed(type(self).__name__, what, fault)


class SpansOfTheDead:
    """Records a span for each of them, in the trace that it was scheduled in, or linked to that one."""

    def __init__(self, tracer_provider: TracerProvider | None = None, *, new_trace: bool = False) -> None:
        self._tracer = get_tracer(semconv.SCOPE, __version__, tracer_provider)
        self._new_trace = new_trace

    def tell(self, run: DeadRun) -> None:
        """Record the span, and note its ids in the run."""
        around = context_of(run.parent_trace_id, run.parent_span_id, sampled=True) or otel.Context()
        links: list[Link] = []
        cause = get_current_span(around).get_span_context()
        if self._new_trace and cause.is_valid:
            links, around = [Link(cause)], otel.Context()
        began = run.scheduled_at if run.started_at is None else run.started_at
        span = self._tracer.start_span(
            semconv.SPAN_PREFIX + run.task,
            around,
            SpanKind.INTERNAL,
            _attributes(run),
            links,
            int(began * _NANOSECONDS),
        )
        if run.error_type is not None and run.outcome == Outcome.FAILED and run.error is not None:
            told = {
                semconv.EXCEPTION_TYPE: run.error_type,
                semconv.EXCEPTION_MESSAGE: run.error,
                semconv.EXCEPTION_STACKTRACE: run.traceback or "",
            }
            span.add_event(semconv.EVENT_EXCEPTION, told, int((run.ended_at or began) * _NANOSECONDS))
        if run.outcome != Outcome.SUCCEEDED:
            span.set_status(Status(StatusCode.ERROR, _detail(run)))
        if span.is_recording():
            run.trace_id, run.span_id, _ = hex_ids(span.get_span_context())
        span.end(int(max(run.ended_at or began, began) * _NANOSECONDS))


def _attributes(run: DeadRun) -> dict[str, Any]:
    attributes = {
        semconv.TASK_NAME: run.task,
        semconv.TASK_RUN_ID: run.run,
        semconv.TASK_OUTCOME: run.outcome,
        semconv.TASK_STATE: run.state,
        semconv.TASK_REASON: run.reason,
        semconv.TASK_WAIT: None if run.started_at is None else max(0.0, run.started_at - run.scheduled_at),
        semconv.TASK_THREAD_WAIT: run.thread_wait,
        semconv.TASK_RECOVERED: run.recovered or None,
        semconv.CODE_FUNCTION: run.function if run.function != run.task else None,
        semconv.HTTP_ROUTE: run.route,
        semconv.ERROR_TYPE: LOST if run.outcome == LOST else run.error_type,
        semconv.PROCESS_PID: run.pid,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def _log(run: DeadRun) -> None:
    """Write the line: its own event for what was lost, or the one that its own process would have written."""
    keys: dict[str, Any] = {
        semconv.KEY_TASK: run.task,
        semconv.KEY_TASK_RUN: run.run,
        semconv.KEY_METHOD: run.method,
        semconv.KEY_ROUTE: run.route,
        semconv.KEY_REQUEST_ID: run.request_id,
        semconv.KEY_TRACE_ID: run.trace_id,
        semconv.KEY_SPAN_ID: run.span_id,
    }
    if run.outcome == LOST:
        level, event = _LOST_LEVEL, semconv.EVENT_LOST
        age = _microseconds((run.ended_at or run.scheduled_at) - run.scheduled_at)
        keys |= {semconv.KEY_STATE: run.state, semconv.KEY_AGE: age, semconv.KEY_PID: run.pid}
    else:
        outcome = Outcome(run.outcome or Outcome.ABANDONED)
        level, event = LEVELS[outcome], semconv.EVENT_ENDED[outcome]
        wait = None if run.started_at is None else max(0.0, run.started_at - run.scheduled_at)
        keys |= {
            semconv.KEY_WAIT: _microseconds(wait),
            semconv.KEY_THREAD_WAIT: _microseconds(run.thread_wait),
            semconv.KEY_DURATION: _microseconds(run.duration),
            semconv.KEY_REASON: run.reason,
            semconv.KEY_ERROR_TYPE: run.error_type,
            semconv.KEY_ERROR_TEXT: run.error,
            semconv.KEY_TRACEBACK: run.traceback,
        }
    keys |= {semconv.KEY_DETAIL: _detail(run), semconv.KEY_RECOVERED: run.recovered or None}
    emit(level, event, {key: value for key, value in keys.items() if value is not None})


def _microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(0.0, seconds), 6)


def _detail(run: DeadRun) -> str | None:
    """Return what happened and what to do about it."""
    return lost_detail(run.state, run.pid) if run.outcome == LOST else run.detail
