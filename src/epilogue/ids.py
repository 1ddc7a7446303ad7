"""The current span's ids, as the hexadecimal text that logs and exemplars carry."""

from __future__ import annotations

from opentelemetry.trace import SpanContext, get_current_span


def hex_ids(context: SpanContext) -> tuple[str, str] | tuple[None, None]:
    """Return the trace id and span id of a span context, or two ``None`` if it is not valid."""
    if not context.is_valid:
        return None, None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def current_ids() -> tuple[str, str] | tuple[None, None]:
    """Return the ids of the span that is current here."""
    return hex_ids(get_current_span().get_span_context())
