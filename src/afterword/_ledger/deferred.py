"""Work that cannot be done at once, because a destructor or a destroyed coroutine caused it.

The garbage collector may run at any moment, in any thread, even while a metrics lock is held. So the work is only
put on a ``SimpleQueue``, which is re-entrant by contract. It is done where nothing is locked: at the end of a task
or request, at a scrape, at shutdown, and otherwise within a second.
"""

from __future__ import annotations

import atexit
import queue
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVarTuple

from .._common import forks
from .._common.faults import EXITS
from .._common.log import log_fault
from .._common.own_thread import started_thread

_SWEEP_SECONDS = 1.0

Arguments = TypeVarTuple("Arguments")

_deferred: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
_woken: queue.SimpleQueue[None] = queue.SimpleQueue()

nothing_deferred = _deferred.empty
"""Return whether there is nothing to drain."""


def defer(action: Callable[[*Arguments], object], *args: *Arguments) -> None:
    """Queue an action for the next ``drain``. Safe in a destructor and while a coroutine is destroyed."""
    _deferred.put((action, args))
    _woken.put(None)


def drain() -> None:
    """Run all deferred actions. Call it where nothing is locked.

    Runs in a fresh context: the draining request rarely owns the collected task.
    """
    while not _deferred.empty():
        try:
            action, args = _deferred.get_nowait()
        except queue.Empty:  # another thread took it
            return
        try:
            Context().run(action, *args)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            log_fault("settling a destroyed task failed", fault)


class _Sweeper:
    """A thread that drains within a second, so that an idle application reports abandoned tasks, too.

    It sleeps until something is deferred. It starts with the first run of a process, so that a server that forks
    its workers never forks this thread.
    """

    started = False

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if not self.started:
            self.started = True
            # registered anew, after the SDK's providers, so it runs before they shut down
            atexit.unregister(drain)
            atexit.register(drain)
            self.started = started_thread(self._sweep, "afterword-sweeper") is not None

    @staticmethod
    def _sweep() -> None:
        while True:
            _woken.get()
            time.sleep(_SWEEP_SECONDS)  # a request or task that ends meanwhile drains, too
            while not _woken.empty():
                _woken.get()
            try:
                drain()
            except BaseException as fault:  # noqa: BLE001  an exit must not end our own thread
                log_fault("settling a destroyed task failed", fault)


sweeper = _Sweeper()


def _forget() -> None:
    """In a forked child, leave deferred work and the thread to the parent; the child starts its own."""
    sweeper.started = False
    for left in (_deferred, _woken):
        while not left.empty():
            forks.leave_to_parent(left.get_nowait())


forks.in_child(_forget)
