"""The current span's ids, as the hexadecimal text that logs and exemplars carry."""

from __future__ import annotations

from opentelemetry.trace import SpanContext, TraceFlags, get_current_span


def hex_ids(context: SpanContext) -> tuple[str, str] | tuple[None, None]:
    """Return the trace id and span id of a span context, or two ``None`` if it is not valid."""
    # a span context is a tuple, whose properties are functions: one look is a fifth of three calls
    trace_id, span_id = context[:2]
    return (f"{trace_id:032x}", f"{span_id:016x}") if trace_id and span_id else (None, None)


def is_sampled(context: SpanContext) -> bool:
    """Return whether a span is recorded somewhere, so that a link to it leads to something."""
    return bool(context[3] & TraceFlags.SAMPLED)


def current_ids() -> tuple[str, str] | tuple[None, None]:
    """Return the ids of the span that is current here."""
    return hex_ids(get_current_span().get_span_context())
