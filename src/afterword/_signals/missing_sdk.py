"""Detects that OpenTelemetry's SDK is not set up. Then no span is recorded, and OpenTelemetry does not warn."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry import trace

from .._common import semconv
from .._common.log import emit, once
from .._common.variables import opentelemetry_is_disabled

# the API's placeholders until a provider is set
_STAND_INS: Final = ("ProxyTracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider")
_ADVICE: Final = (
    "no span is recorded, because OpenTelemetry's SDK is not set up: call afterword.configure() or set a tracer "
    "provider; with opentelemetry-instrument, install the package opentelemetry-distro; if you want no spans, "
    "use instrument(traces=False) or AFTERWORD_TRACES=false"
)


def is_set_up(provider: Any) -> bool:
    """Return whether a provider has been set."""
    return type(provider).__name__ not in _STAND_INS


def say_if_nothing_records(provider: Any) -> None:
    """Warn once per process that no span is recorded, and say what to do, unless that is intended.

    Args:
        provider: the provider that was passed for tracing, if any.
    """
    if opentelemetry_is_disabled() or (provider is not None and is_set_up(provider)):
        return
    if not is_set_up(trace.get_tracer_provider()) and once.first("no SDK"):
        emit("info", semconv.EVENT_TRACES, {semconv.KEY_DETAIL: _ADVICE})
