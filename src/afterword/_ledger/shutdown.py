"""The end of a lifespan: cancelled tasks get time to clean up, and pending telemetry is flushed.

A server cancels running tasks, ends the lifespan and then the process, all at once. A task whose clean-up awaits
anything would never finish or be reported. The end of the lifespan is the last chance to wait for it.

A server that is stopped by a signal may end itself by that signal (uvicorn does). Then no exit handler runs, and
the last spans and metrics would be lost. Only providers that nothing else flushes are flushed: those that
``configure`` created, and those of ``opentelemetry-instrument``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

import anyio
from opentelemetry import _logs, metrics, trace

from .._common.faults import EXITS, contained
from .._common.log import log_fault
from .deferred import drain
from .ending import ending
from .instrumentation import Instrumentation
from .runs import has_open_runs

CLEAN_UP_SECONDS: Final = 5.0
"""Wait this long at most: the grace period is over, and a supervisor kills a process that takes too long."""

_TIMEOUT: Final = "OTEL_EXPORTER_OTLP_TIMEOUT"
_DEFAULT_SECONDS: Final = 10.0  # OpenTelemetry's own
_LOOK_SECONDS: Final = 0.02


class Flushed:
    """The providers that are flushed at the end of every lifespan."""

    def __init__(self) -> None:
        self._ours: list[object] = []
        self.with_global = False
        """Whether the global providers are flushed, too."""

    def add(self, provider: object) -> None:
        """Flush a provider from now on."""
        self._ours.append(provider)

    def all(self) -> list[object]:
        """Return the providers, each once."""
        providers = list(self._ours)
        if self.with_global:
            current = (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())
            providers += [provider for provider in current if provider not in providers]
        return providers


flushed = Flushed()

ConcernsUs = Callable[[asyncio.Task[Any]], bool]
"""Returns whether a task of the loop has runs that have not ended."""


async def end(instrumentation: Instrumentation, concerns_us: ConcernsUs) -> None:
    """Do what is left to be done at the end of a lifespan."""
    await let_cancelled_end(concerns_us)
    drain()
    instrumentation.failsafe("telling of the shutdown", ending.end, instrumentation)
    if instrumentation.journal is not None:
        await in_thread(instrumentation.journal.recover)
    await flush()


async def flush() -> None:
    """Flush all providers at once, each in a thread. Wait no longer than an exporter would."""
    threads: list[threading.Thread] = []
    try:
        for provider in flushed.all():
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


async def in_thread(work: Callable[[], object]) -> None:
    """Do something in a thread. Wait no longer than for what was cancelled."""
    try:
        thread = threading.Thread(target=_contained, args=(work,), name="afterword-last", daemon=True)
        thread.start()
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001  no thread is to be had
        log_fault("the last look at the journal failed", fault)
        return
    deadline = monotonic() + CLEAN_UP_SECONDS
    while thread.is_alive() and monotonic() < deadline:  # noqa: ASYNC110  a thread's end
        await anyio.sleep(_LOOK_SECONDS)


def _contained(work: Callable[[], object]) -> None:
    with contained():
        work()


def _flush(provider: object) -> None:
    try:
        flush = getattr(provider, "force_flush", None)  # the API's own providers have no such method
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


async def let_cancelled_end(concerns_us: ConcernsUs) -> None:
    """Wait for our requests and tasks that are being cancelled, but not for any others."""
    if not has_open_runs():
        return
    try:
        cancelled = [task for task in asyncio.all_tasks() if _is_cancelled(task) and concerns_us(task)]
    except Exception:  # noqa: BLE001  no loop of asyncio's, as under trio, or tasks that are none of asyncio's
        return
    if cancelled:
        await asyncio.wait(cancelled, timeout=CLEAN_UP_SECONDS)


def _is_cancelled(task: asyncio.Task[Any]) -> bool:
    return task.cancelling() > 0 and task is not asyncio.current_task()
