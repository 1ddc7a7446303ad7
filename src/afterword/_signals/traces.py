"""One span per run. If another instrumentation has opened a span for it, that one is adopted."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from contextvars import Token
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer,
    set_span_in_context,
)

from .._common import __version__, semconv
from .._common.context import HexIds, hex_ids
from .._common.errors.exceptions import exc_info, text
from .._common.faults import EXITS
from .._common.model import SUCCEEDED, Outcome, Reason, TaskRun, full_name
from .._common.observer import TaskObserver
from . import missing_sdk
from .attributes import exception_attributes

_NANOSECONDS = 1_000_000_000
_INTERNAL: Final = SpanKind.INTERNAL  # as with outcomes, looking it up is not for free

_Open = tuple[Span, Token[Any] | None, bool | None]
"""The span of a started run, the token of its context if we opened it, and the result of ``Recognise`` if not."""

_Parent = tuple[Callable[[], Context | None], Span, HexIds]
"""The context of a request, while it lives; the span in it, and the span's ids."""

Recognise = Callable[[Span], bool | None]
"""Returns whether a span that another instrumentation opened for a task records exceptions by itself.

``None`` for any other span. Each engine passes its own: it knows which tools instrument it."""


class Traces(TaskObserver):
    """Records every run as a span, even if it never started: in a trace, the missing mail is visible."""

    def __init__(
        self, recognise: Recognise, tracer_provider: TracerProvider | None = None, *, new_trace: bool = False
    ) -> None:
        self._recognise = recognise
        self._tracer = get_tracer(semconv.SCOPE, __version__, tracer_provider)
        self._new_trace = new_trace
        self._provider = tracer_provider
        self._looked = False
        """Whether the SDK was checked after a span was not recorded."""
        self._parents: dict[TaskRun, Span] = {}  # of runs that have not started
        self._open: dict[TaskRun, _Open] = {}
        self._last: _Parent = _nothing, INVALID_SPAN, (None, None, False)
        """The last parent: the runs of a request share one, found once in the request's context."""
        self._stranger: Span = INVALID_SPAN
        """The last span that was not to be adopted."""
        # https://opentelemetry.io/docs/specs/semconv/general/recording-errors/ : "logs" means no span events
        opt_in = os.environ.get("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "").split(",")
        self._record_exceptions = "logs" not in (value.strip() for value in opt_in)

    def scheduled(self, run: TaskRun) -> None:
        """Remember the parent: the request's span or, without one, the span that schedules the task.

        FastAPI's own task spans are children of the request's span, so ours are, too, whatever the outcome.
        """
        context = run._around
        last_context, parent, ids = self._last  # in one step: other threads schedule, too
        if context is None or context is not last_context():
            origin: Callable[[], Context | None] = _nothing
            last = parent
            parent = get_current_span(context) if context else INVALID_SPAN
            if parent is INVALID_SPAN:
                parent = get_current_span()
            elif context is not None:
                origin = weakref.ref(context)
            if parent is not last:
                ids = hex_ids(parent.get_span_context())
            self._last = origin, parent, ids
        self._parents[run] = parent
        run.trace_id, run.span_id, run.sampled = ids

    def started(self, run: TaskRun) -> None:
        """Adopt the span that is open for the call, or open our own and make it current."""
        parent = self._parents.pop(run, INVALID_SPAN)
        context = otel.get_current()  # passed on, or every OpenTelemetry function would look it up again
        here = get_current_span(context)
        adopted = None if here is self._stranger else self._recognise(here)
        if adopted is not None:
            span = here
            self._open[run] = span, None, adopted
            span.update_name(semconv.SPAN_PREFIX + run.name)
            span.set_attributes(task_attributes(run))
        else:
            self._stranger = here
            if run.trace_id is None:  # scheduled outside of any trace
                parent = here
            if self._new_trace:
                span = self._start(run, parent, context, here)
            else:
                around = context if parent is here else set_span_in_context(parent, context)
                name = semconv.SPAN_PREFIX + run.name
                span = self._tracer.start_span(name, around, _INTERNAL, task_attributes(run))
            self._open[run] = span, otel.attach(set_span_in_context(span, context)), None
        run.trace_id, run.span_id, run.sampled = hex_ids(span.get_span_context())

    def ended(self, run: TaskRun) -> None:
        """Set the outcome on the span, and end it if it is ours."""
        opened = self._open.pop(run, None)
        if opened is None:
            parent = self._parents.pop(run, None)
            if parent is None:
                return
            scheduled_at = int(run.scheduled_at * _NANOSECONDS)
            context = otel.get_current()
            opened = self._start(run, parent, context, get_current_span(context), scheduled_at), None, None
            run.trace_id, run.span_id, run.sampled = hex_ids(opened[0].get_span_context())
        span, token, adopted = opened
        try:
            if span.is_recording():
                # one by one: the SDK is slower with a dictionary
                span.set_attribute(semconv.TASK_OUTCOME, str(run.outcome))
                if run.thread_wait is not None:
                    span.set_attribute(semconv.TASK_THREAD_WAIT, run.thread_wait)
                if run.outcome is not SUCCEEDED:
                    self._write_error(run, span, adopted)
            elif not self._looked:
                self._looked = True
                missing_sdk.say_if_nothing_records(self._provider)
        finally:
            if token is not None and not run.torn_down:
                otel.detach(token)
            if adopted is None:  # otherwise its owner ends it
                span.end()

    def tearing_down(self, run: TaskRun) -> None:
        """Set the outcome on an adopted span, which its owner is about to end. Our own spans end later.

        This takes only the span's own lock, which the owner takes next anyway.
        """
        span, token, adopted = self._open.get(run, (INVALID_SPAN, None, None))
        if token is not None and not run.torn_down:
            otel.detach(token)
        if adopted is not None:
            span.set_attribute(semconv.TASK_OUTCOME, str(Outcome.CANCELLED))
            span.set_attribute(semconv.TASK_REASON, str(Reason.CANCELLED))
            span.set_attribute(semconv.ERROR_TYPE, str(Reason.CANCELLED))
            span.set_status(Status(StatusCode.ERROR))
            del self._open[run]

    def _start(
        self, run: TaskRun, parent: Span, context: Context, here: Span, start_time: int | None = None
    ) -> Span:
        """Start our span in a context, whose span is ``here``, as a child of the parent or linked to it."""
        name, attributes = semconv.SPAN_PREFIX + run.name, task_attributes(run)
        links: list[Link] = []
        if self._new_trace:
            cause = parent.get_span_context()
            links, parent = [Link(cause)] if cause.is_valid else [], INVALID_SPAN
        if parent is not here:
            context = set_span_in_context(parent, context)
        return self._tracer.start_span(name, context, _INTERNAL, attributes, links, start_time)

    def _write_error(self, run: TaskRun, span: Span, adopted: bool | None) -> None:
        if run.reason is not None:
            span.set_attribute(semconv.TASK_REASON, str(run.reason))
        if run._stopped_by is not None:
            span.set_attribute(semconv.TASK_STOPPED_BY, run._stopped_by)
        if run.error_type is not None:
            span.set_attribute(semconv.ERROR_TYPE, run.error_type)
        if run.outcome is Outcome.FAILED and run.exception is not None and self._record_exceptions:
            _record(span, run.exception)
        elif run.outcome is Outcome.DROPPED:
            _write_answer(span, run)
        span.set_status(Status(StatusCode.ERROR, run.detail))
        if adopted:
            _keep(span)


def task_attributes(run: TaskRun) -> dict[str, Any]:
    """Return the attributes of a span; each costs as much as a function of ours, so only what is asked for."""
    attributes: dict[str, Any] = {semconv.TASK_NAME: run.name, semconv.TASK_RUN_ID: run.id}
    if run.function != run.name:
        attributes[semconv.CODE_FUNCTION] = run.function
    if run.wait is not None:
        attributes[semconv.TASK_WAIT] = run.wait
    if run.request is not None and run.request.route is not None:
        attributes[semconv.HTTP_ROUTE] = run.request.route
    return attributes


def _write_answer(span: Span, run: TaskRun) -> None:
    """Write what the request raised on a dropped run's span, and what was answered."""
    if run.exception is not None:
        span.set_attribute(semconv.EXCEPTION_MESSAGE, text(exc_info(run.exception)))
    if run.request is not None and run.request.status is not None:
        span.set_attribute(semconv.HTTP_STATUS, run.request.status)


def _record(span: Span, exc: BaseException) -> None:
    """Record an exception as an event, without anything unsafe to write."""
    told = exc_info(exc)
    try:
        span.record_exception(told[1], attributes=exception_attributes(told))
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  a tracer that chokes on it
        span.add_event(semconv.EVENT_EXCEPTION, {semconv.EXCEPTION_TYPE: full_name(exc)})


def _keep(span: Any) -> None:
    """Protect an adopted span: contrib would add the passing exception, with any input that it quotes."""
    with contextlib.suppress(AttributeError):  # a span of another SDK
        span.record_exception = span.set_status = _ignore


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def _nothing() -> None:
    """Be the weak reference to a context that is gone."""
