"""Works with OpenTelemetry contrib's instrumentation of Celery: its spans are recognised here, and adopted."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.trace import Span, SpanKind

from .._common.errors.withheld import are_texts_withheld, keep_out_of

_REASON: Final = "celery.retry.reason"
"""The attribute in which contrib tells why an attempt is tried again."""
_SCOPE: Final = "opentelemetry.instrumentation.celery"


def recognise_span(span: Span, kind: SpanKind) -> bool | None:
    """Return true for contrib's span of this kind; ``None`` for any other span.

    With the privacy switch, contrib writes no text on it from then on.
    """
    scope = getattr(getattr(span, "instrumentation_scope", None), "name", None)
    if scope != _SCOPE or getattr(span, "kind", None) is not kind or not span.is_recording():
        return None
    if are_texts_withheld():
        keep_out_of(span, _REASON)
    return True


def come_last(signal: Any, receiver: Any) -> None:
    """Put a receiver of a signal behind all others, so that contrib's span is open when it is called."""
    _move(signal, receiver, -1)


def come_first(signal: Any, receiver: Any) -> None:
    """Put a receiver of a signal before all others, so that contrib's span is still open when it is called."""
    _move(signal, receiver, 0)


def _move(signal: Any, receiver: Any, place: int) -> None:
    """Replace the list of receivers in one step: another thread may be calling them."""
    receivers = signal.receivers
    if not receivers or receivers[place][1] is receiver:
        return
    ours = [each for each in receivers if each[1] is receiver]
    others = [each for each in receivers if each[1] is not receiver]
    # in place: Celery's tracers keep the list itself
    receivers[:] = [*others, *ours] if place else [*ours, *others]
    if getattr(signal, "use_caching", False):
        signal.sender_receivers_cache.clear()
