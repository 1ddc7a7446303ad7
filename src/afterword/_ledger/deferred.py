"""What cannot be done at once: whatever a destructor or a torn-down coroutine leads to.

The garbage collector may run at any moment, in any thread, even in the middle of a metrics lock. So what is to be
done is only put on a ``SimpleQueue``, which is re-entrant by contract. It is done where nothing is locked: at a
task's end, a request's end, a scrape, within a second, at shutdown.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from .._common import forks
from .._common.faults import EXITS
from .._common.log import log_fault

_SWEEP_SECONDS = 1.0


_deferred: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
_woken: queue.SimpleQueue[None] = queue.SimpleQueue()

nothing_deferred = _deferred.empty
"""Return whether there is nothing to drain."""


def defer(action: Callable[..., Any], *args: Any) -> None:
    """Leave an action for the next drain; safe in a destructor and while a coroutine is torn down."""
    _deferred.put((action, args))
    _woken.put(None)


def drain() -> None:
    """Do what destructors and torn-down coroutines have left; call it where nothing is locked.

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
    """A thread that drains within a second of a death, so that an idle application reports what it gave up.

    It sleeps until something dies, and begins with the first run of a process: a server that forks its workers
    forks no thread of ours.
    """

    def __init__(self) -> None:
        self.started = False

    def start(self) -> None:
        """Make sure that the thread is there."""
        if not self.started:
            self.started = True
            # after the SDK's providers were made, so before they shut down
            atexit.register(drain)
            threading.Thread(target=self._sweep, name="afterword-sweeper", daemon=True).start()

    @staticmethod
    def _sweep() -> None:
        while True:
            _woken.get()
            time.sleep(_SWEEP_SECONDS)  # whoever ends a request or a task meanwhile has drained already
            while not _woken.empty():
                _woken.get()
            try:
                drain()
            except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
                log_fault("settling a destroyed task failed", fault)


sweeper = _Sweeper()


def _forget() -> None:
    """Leave the parent's dead to it, in a forked child; its thread, too: the child begins one in need."""
    sweeper.started = False
    for left in (_deferred, _woken):
        while not left.empty():
            forks.leave_to_parent(left.get_nowait())


forks.in_child(_forget)
