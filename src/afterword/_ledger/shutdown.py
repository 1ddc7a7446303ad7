"""The last batch: what still waits in the SDK's queues is sent when an application's lifespan ends.

A server that was stopped by a signal ends itself by that signal (uvicorn does), so no exit handler runs, and the
spans of the last seconds and the metrics of the last minute would go nowhere. Only providers that nobody else
looks after are flushed: those that ``configure`` made, and those of ``opentelemetry-instrument``.
"""

from __future__ import annotations

import os
import threading
from math import inf
from time import monotonic
from typing import Any, Final

import anyio
from opentelemetry import _logs, metrics, trace

from .._common.faults import EXITS, log_fault

_TIMEOUT: Final = "OTEL_EXPORTER_OTLP_TIMEOUT"
_DEFAULT_SECONDS: Final = 10.0  # OpenTelemetry's own
_LOOK_SECONDS: Final = 0.02

_made: list[Any] = []
_global = False


def remember(provider: Any) -> None:
    """Flush a provider at the end of every lifespan."""
    _made.append(provider)


def flush_global(wanted: bool) -> None:
    """Flush the global providers, too, whoever made them; ``False`` ends that."""
    global _global
    _global = wanted


async def flush() -> None:
    """Flush all at the same time, each in a thread; wait no longer than an exporter would."""
    threads: list[threading.Thread] = []
    try:
        for provider in _providers():
            thread = threading.Thread(target=_flush, args=(provider,), name="afterword-flush", daemon=True)
            thread.start()
            threads.append(thread)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001  no thread is to be had, or no provider that a variable names
        log_fault("flushing failed", fault)
    deadline = monotonic() + _seconds()
    while any(thread.is_alive() for thread in threads) and monotonic() < deadline:  # noqa: ASYNC110  threads' end
        await anyio.sleep(_LOOK_SECONDS)


def _providers() -> list[Any]:
    providers = list(_made)
    if _global:
        current = (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())
        providers += [provider for provider in current if provider not in providers]
    return providers


def _flush(provider: Any) -> None:
    try:
        flush = getattr(provider, "force_flush", None)  # the API's own providers have none
        if flush is not None:
            flush()
    except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
        log_fault(f"flushing {type(provider).__name__} failed", fault)


def _seconds() -> float:
    try:
        seconds = float(os.environ.get(_TIMEOUT, ""))
    except ValueError:
        return _DEFAULT_SECONDS
    return seconds if 0 < seconds < inf else _DEFAULT_SECONDS
