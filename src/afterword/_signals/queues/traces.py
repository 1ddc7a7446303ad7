"""Spans of a queue's tasks: PRODUCER where one is published, CONSUMER for each of its attempts.

The span of an attempt is a child of the span of its publish, so that one trace leads from the request to the last
attempt. If another instrumentation has opened a span for it, that one is adopted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)

from ..._common import semconv
from ..._common.context import hex_ids
from ..._common.model import Outcome, TaskRun
from ..._common.observer import QueueObserver
from ..traces import Traces, task_attributes

_NANOSECONDS: Final = 1_000_000_000
_SEND: Final = "send"
_PROCESS: Final = "process"
"""What OpenTelemetry calls what is done with a message."""

Recognise = Callable[[Span, SpanKind], bool | None]
"""Returns true for a span that another tool opened for a publish or an attempt, ``None`` for any other."""

_Open = tuple[Span, Token[otel.Context], bool | None]
"""A span, the token of the context that it is current in, and what ``Recognise`` says of it."""


class QueueTraces(Traces, QueueObserver):
    """Records every publish and every attempt as a span, and what never began, too."""

    def __init__(
        self, recognise: Recognise, tracer_provider: TracerProvider | None = None, *, new_trace: bool = False
    ) -> None:
        super().__init__(lambda _: None, tracer_provider, new_trace=new_trace)
        self._recognise_kind = recognise
        self._publishing: dict[TaskRun, _Open] = {}
        self._attempts: dict[TaskRun, _Open] = {}

    # --- where it is published ----------------------------------------------------------------------------------

    def scheduled(self, run: TaskRun) -> None:
        """Open the span of a publish, and make it current: its context travels with the message."""
        context = otel.get_current()
        here = get_current_span(context)
        adopted = self._recognise_kind(here, SpanKind.PRODUCER)
        name, attributes = f"{semconv.PUBLISH_PREFIX}{run.name}", _attributes(run, _SEND)
        if adopted is not None:
            span = here
            span.update_name(name)
            span.set_attributes(attributes)
        else:
            span = self._tracer.start_span(name, context, SpanKind.PRODUCER, attributes)
        self._publishing[run] = span, otel.attach(set_span_in_context(span, context)), adopted
        run.trace_id, run.span_id, run.sampled = hex_ids(span.get_span_context())

    def sent(self, run: TaskRun) -> None:
        """End the span of a publish."""
        opened = self._publishing.pop(run, None)
        if opened is not None:
            span, token, adopted = opened
            otel.detach(token)
            if adopted is None:
                span.end()

    # --- where it runs ------------------------------------------------------------------------------------------

    def started(self, run: TaskRun) -> None:
        """Adopt the span that is open for the attempt, or open our own and make it current."""
        context = otel.get_current()
        here = get_current_span(context)
        adopted = self._recognise_kind(here, SpanKind.CONSUMER)
        if adopted is not None:
            span, inside = here, context
            span.update_name(semconv.SPAN_PREFIX + run.name)
            span.set_attributes(_attributes(run, _PROCESS))
        else:
            span = self._consume(run)
            inside = set_span_in_context(span, otel.Context(context | run._around) if run._around else context)
        self._attempts[run] = span, otel.attach(otel.Context(inside)), adopted
        run.trace_id, run.span_id, run.sampled = hex_ids(span.get_span_context())

    def returned(self, run: TaskRun) -> None:
        """End the span of an attempt that did not end its task: it has a reason, and no outcome."""
        self._finish(run)

    def ended(self, run: TaskRun) -> None:
        """End the span of the last attempt, or of a failed publish, with the outcome; or make one for the rest."""
        published = self._publishing.pop(run, None)
        if published is None:
            self._finish(run)
            return
        span, token, _ = published
        try:
            self._write(run, span, False)
        finally:
            otel.detach(token)
            span.end()  # an adopted one, too: contrib never ends the span of a publish that failed

    def handed_over(self, run: TaskRun) -> None:
        """Leave a span unfinished, which the other process makes anew."""
        opened = self._attempts.pop(run, None)
        if opened is not None:
            otel.detach(opened[1])

    def _finish(self, run: TaskRun) -> None:
        opened = self._attempts.pop(run, None)
        if opened is None:  # it never began, or began in a process that cannot tell
            since = run.started_at or run.scheduled_at
            span, token, adopted = self._consume(run, int(since * _NANOSECONDS) if since else None), None, None
            run.trace_id, run.span_id, run.sampled = hex_ids(span.get_span_context())
        else:
            span, token, adopted = opened
        try:
            self._write(run, span, adopted)
        finally:
            if token is not None:
                otel.detach(token)
            if adopted is None:
                span.end()

    def _consume(self, run: TaskRun, start_time: int | None = None) -> Span:
        """Start the span of an attempt: a child of its publish, or linked to it in a new trace."""
        around = run._around if run._around is not None else otel.get_current()
        links: list[Link] = []
        if self._new_trace:
            cause = get_current_span(around).get_span_context()
            links, around = [Link(cause)] if cause.is_valid else [], otel.Context()
        return self._tracer.start_span(
            semconv.SPAN_PREFIX + run.name,
            around,
            SpanKind.CONSUMER,
            _attributes(run, _PROCESS),
            links,
            start_time,
        )

    def _write(self, run: TaskRun, span: Span, adopted: bool | None) -> None:
        if not span.is_recording():
            return
        if run.outcome is not None:
            span.set_attribute(semconv.TASK_OUTCOME, str(run.outcome))
        if run.outcome not in (None, Outcome.SUCCEEDED):
            exc = run.exception
            try:
                run.exception = None if adopted else exc  # its owner has recorded it
                self._write_error(run, span, adopted)
            finally:
                run.exception = exc
        elif run.reason is not None:
            span.set_attribute(semconv.TASK_REASON, str(run.reason))
            if run.outcome is None and run.error_type is not None:
                span.set_attribute(semconv.ERROR_TYPE, run.error_type)
                span.set_status(Status(StatusCode.ERROR, run.detail))


def _attributes(run: TaskRun, operation: str) -> dict[str, Any]:
    """Return the attributes of a span, with OpenTelemetry's of messaging."""
    attributes = task_attributes(run)
    attributes[semconv.MESSAGING_OPERATION_TYPE] = attributes[semconv.MESSAGING_OPERATION_NAME] = operation
    if run._system is not None:
        attributes[semconv.MESSAGING_SYSTEM] = run._system
    if run._destination is not None:
        attributes[semconv.MESSAGING_DESTINATION] = run._destination
    if run.id:
        attributes[semconv.MESSAGING_MESSAGE_ID] = run.id
    if run.attempt is not None:
        attributes[semconv.TASK_ATTEMPT] = run.attempt
    return attributes
