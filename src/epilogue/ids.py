"""The current span's ids, as the hexadecimal text that logs and exemplars carry."""

from __future__ import annotations

from opentelemetry.trace import SpanContext, TraceFlags, get_current_span

HexIds = tuple[str, str, bool] | tuple[None, None, bool]
"""A trace id, a span id, and whether the span is sampled, so that a link to it leads to something."""


def hex_ids(context: SpanContext) -> HexIds:
    """Return what a span context says; no ids if it is not valid."""
    # a span context is a tuple, whose five properties would be five calls
    trace_id, span_id, _, flags = context[:4]
    if not (trace_id and span_id):
        return None, None, False
    return f"{trace_id:032x}", f"{span_id:016x}", bool(flags & TraceFlags.SAMPLED)


def current_ids() -> tuple[str | None, str | None]:
    """Return the ids of the span that is current here."""
    return hex_ids(get_current_span().get_span_context())[:2]
