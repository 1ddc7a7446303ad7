"""Ids of spans: as the hexadecimal text that logs and exemplars carry, and back again."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

HexIds = tuple[str, str, bool] | tuple[None, None, bool]
"""A trace id, a span id, and whether the span is sampled, so that a link to it leads to something."""


def hex_ids(context: SpanContext) -> HexIds:
    """Return what a span context says; no ids if it is not valid."""
    # a span context is a tuple, whose five properties would be five calls
    trace_id, span_id, _, flags = context[:4]
    if not (trace_id and span_id):
        return None, None, False
    return f"{trace_id:032x}", f"{span_id:016x}", bool(flags & TraceFlags.SAMPLED)


def context_of(trace_id: str | None, span_id: str | None, *, sampled: bool) -> Context | None:
    """Return a context with a span of these ids, which is over or is not current here; ``None`` without ids."""
    if trace_id is None or span_id is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    span = NonRecordingSpan(SpanContext(int(trace_id, 16), int(span_id, 16), False, flags))
    return set_span_in_context(span, Context())


def current_ids() -> tuple[str | None, str | None]:
    """Return the ids of the span that is current here."""
    return hex_ids(get_current_span().get_span_context())[:2]
