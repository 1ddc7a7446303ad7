"""What a process tells of an attempt besides counting it: its trace, and the user's callbacks."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from celery.exceptions import TaskPredicate
from opentelemetry.trace import get_current_span

from .._common import forks
from .._common.context import hex_ids
from .._common.errors.tracebacks import without_values
from .._common.log import once, warn
from .._common.model import TaskRun
from .._common.own_thread import started_thread
from . import headers
from .instrumentation import CeleryInstrumentation

_MOST_THREADS: Final = 4
_MOST_WAITING: Final = 1000


def continue_trace(run: TaskRun, said: Mapping[str, Any]) -> None:
    """Put a run into the trace that its message was published in: in that span, until it has one of its own."""
    run._around = around = headers.remote_context(headers.said_of(said))
    if around is not None:
        run.trace_id, run.span_id, run.sampled = hex_ids(get_current_span(around).get_span_context())


def give_places(exc: Any, told: Any) -> None:
    """Give an exception the traceback that has come with it from a child, for the journal and for callbacks."""
    if isinstance(exc, Exception) and not isinstance(exc, TaskPredicate) and exc.__traceback__ is None:
        exc.__traceback__ = without_values(getattr(told, "tb", None))


class _Callbacks:
    """Calls the user's functions in a few threads, however many tasks fail at once."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked child, leave them to the parent."""
        self._lock = threading.RLock()
        self._waiting: deque[Callable[[], object]] = deque()
        self._threads = 0

    def add(self, call: Callable[[], object]) -> bool:
        """Call something soon, in its turn; return false if too many wait already."""
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                return False
            self._waiting.append(call)
            if self._threads < _MOST_THREADS and started_thread(self._work, "afterword-callback"):
                self._threads += 1
            return True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                call = self._waiting.popleft()
            with contextlib.suppress(BaseException):  # no exit leads out of a thread of ours
                call()
            del call  # it has the exception, and that its frames


_callbacks: Final = _Callbacks()
forks.in_child(_callbacks.forget)


def call_back(known: CeleryInstrumentation, run: TaskRun, exc: BaseException | None) -> None:
    """Call ``on_task_failure``, in a thread: the worker's main process must not wait for it."""
    functions = known.settings.on_task_failure

    def call() -> None:
        for function in functions:
            known.failsafe("on_task_failure", _call, function, run, exc)

    if functions and not _callbacks.add(call) and once.first("callbacks"):
        warn("on_task_failure takes too long: %s failures wait for it, and more are not told to it", _MOST_WAITING)


def _call(function: Any, run: TaskRun, exc: BaseException | None) -> None:
    result = function(run, exc)
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))


async def _awaited(result: Any) -> None:
    await result
