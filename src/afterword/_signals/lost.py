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
    engine: str
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
    stopped_by: str | None
    detail: str | None
    error_type: str | None
    error: str | None
    traceback: str | None
    trace_id: str | None
    span_id: str | None
    parent_trace_id: str | None
    parent_span_id: str | None
    parent_sampled: bool
    sampled: bool | None
    pid: int | None
    shutdown: float | None
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

    @property
    def interrupted(self) -> Sequence[DeadRun]:
        """The attempts that it had in flight, and whose message comes again."""
        ...

    @property
    def returned(self) -> Sequence[DeadRun]:
        """The attempts that did not end their task, but perhaps were not counted."""
        ...


@runtime_checkable
class TellsDead(Protocol):
    """Spans, lines, or records."""

    def tell_dead(self, run: DeadRun) -> None:
        """Tell the end of a run; if it is ``recovered``, it may have been told before."""


@runtime_checkable
class CountsDead(Protocol):
    """Metrics."""

    def count_dead(self, dead: DeadProcess) -> None:
        """Make the numbers agree with what a dead process has left."""


Failed = Callable[[str, str, BaseException], None]
"""What is called with an error of ours: whose, where, and the error."""


class LostRuns:
    """Tells of the dead in the signals that an application has. An error in one of them spares the others."""

    def __init__(self, tellers: Sequence[TellsDead], metrics: Sequence[CountsDead], failed: Failed) -> None:
        self._tellers = tellers
        self._metrics = metrics
        self._failed = failed

    def tell(self, run: DeadRun) -> None:
        """Tell the end of a run, in the order of the tellers."""
        for teller in self._tellers:
            self._try("telling", teller.tell_dead, run)

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
    """Records a span for each of them, in the trace that it was scheduled in, or linked to that one.

    None where the run had a span that was not sampled: nobody would find the rest of its trace.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None, *, new_trace: bool = False) -> None:
        self._tracer = get_tracer(semconv.SCOPE, __version__, tracer_provider)
        self._new_trace = new_trace

    def tell_dead(self, run: DeadRun) -> None:
        """Record the span, and note its ids in the run."""
        if run.sampled is False:
            return
        parent = run.parent_trace_id, run.parent_span_id
        around = context_of(*parent, sampled=run.parent_sampled) or otel.Context()
        links: list[Link] = []
        cause = get_current_span(around).get_span_context()
        if self._new_trace and cause.is_valid:
            links, around = [Link(cause)], otel.Context()
        began = run.scheduled_at if run.started_at is None else run.started_at
        span = self._tracer.start_span(
            semconv.SPAN_PREFIX + run.task,
            around,
            SpanKind.INTERNAL,
            attributes_of(run),
            links,
            int(began * _NANOSECONDS),
        )
        told = exception_of(run)
        if told:
            span.add_event(semconv.EVENT_EXCEPTION, told, int((run.ended_at or began) * _NANOSECONDS))
        if run.outcome != Outcome.SUCCEEDED:
            span.set_status(Status(StatusCode.ERROR, detail_of(run)))
        if span.is_recording():
            run.trace_id, run.span_id, run.sampled = hex_ids(span.get_span_context())
        span.end(int(max(run.ended_at or began, began) * _NANOSECONDS))


def attributes_of(run: DeadRun) -> dict[str, Any]:
    """Return the attributes of a span, as far as they are known."""
    attributes = {
        semconv.TASK_NAME: run.task,
        semconv.TASK_RUN_ID: run.run,
        semconv.TASK_OUTCOME: run.outcome,
        semconv.TASK_STATE: run.state,
        semconv.TASK_REASON: run.reason,
        semconv.TASK_STOPPED_BY: run.stopped_by,
        semconv.TASK_WAIT: None if run.started_at is None else max(0.0, run.started_at - run.scheduled_at),
        semconv.TASK_THREAD_WAIT: run.thread_wait,
        semconv.TASK_RECOVERED: run.recovered or None,
        semconv.CODE_FUNCTION: run.function if run.function != run.task else None,
        semconv.HTTP_ROUTE: run.route,
        semconv.ERROR_TYPE: LOST if run.outcome == LOST else run.error_type,
        semconv.PROCESS_PID: run.pid,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def exception_of(run: DeadRun) -> dict[str, str]:
    """Return OpenTelemetry's attributes of the exception of a failed run; none if it is not known."""
    if run.error_type is None or run.outcome != Outcome.FAILED or run.error is None:
        return {}
    return {
        semconv.EXCEPTION_TYPE: run.error_type,
        semconv.EXCEPTION_MESSAGE: run.error,
        semconv.EXCEPTION_STACKTRACE: run.traceback or "",
    }


def event_of(run: DeadRun) -> tuple[str, str]:
    """Return the level and the event: its own for what was lost, else what its own process would have told."""
    if run.outcome == LOST:
        return _LOST_LEVEL, semconv.EVENT_LOST
    outcome = Outcome(run.outcome or Outcome.ABANDONED)
    return LEVELS[outcome], semconv.EVENT_ENDED[outcome]


def age_of(run: DeadRun) -> float:
    """Return for how many seconds a lost run had been scheduled when it was found."""
    return max(0.0, (run.ended_at or run.scheduled_at) - run.scheduled_at)


def detail_of(run: DeadRun) -> str | None:
    """Return what happened and what to do about it."""
    if run.outcome != LOST:
        return run.detail
    return lost_detail(run.state, run.pid, run.engine, run.shutdown)


class LinesOfTheDead:
    """Writes a log line for each of them."""

    def tell_dead(self, run: DeadRun) -> None:
        """Write the line."""
        level, event = event_of(run)
        keys = _keys(run)
        emit(level, event, {key: value for key, value in keys.items() if value is not None})


def _keys(run: DeadRun) -> dict[str, Any]:
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
        keys |= {
            semconv.KEY_STATE: run.state,
            semconv.KEY_AGE: _microseconds(age_of(run)),
            semconv.KEY_PID: run.pid,
            semconv.KEY_SHUTDOWN: _microseconds(run.shutdown),
        }
    else:
        wait = None if run.started_at is None else max(0.0, run.started_at - run.scheduled_at)
        keys |= {
            semconv.KEY_WAIT: _microseconds(wait),
            semconv.KEY_THREAD_WAIT: _microseconds(run.thread_wait),
            semconv.KEY_DURATION: _microseconds(run.duration),
            semconv.KEY_REASON: run.reason,
            semconv.KEY_STOPPED_BY: run.stopped_by,
            semconv.KEY_ERROR_TYPE: run.error_type,
            semconv.KEY_ERROR_TEXT: run.error,
            semconv.KEY_TRACEBACK: run.traceback,
        }
    return keys | {semconv.KEY_DETAIL: detail_of(run), semconv.KEY_RECOVERED: run.recovered or None}


def _microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(max(0.0, seconds), 6)
