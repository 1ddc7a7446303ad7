"""Threads for work of ours: the forty that the application shares may all be held by its tasks."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

from . import forks
from .log import once, warn

_SECONDS: Final = 1.0

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class OwnThread:
    """Runs one function at a time for each event loop, in a thread that no task of the application waits for."""

    def __init__(self, name: str) -> None:
        self._limiter: RunVar[CapacityLimiter] = RunVar(name)

    async def run(self, function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
        """Return what the function returns; raises what it raises."""
        try:
            limiter = self._limiter.get()
        except LookupError:
            limiter = CapacityLimiter(1)
            self._limiter.set(limiter)
        return await anyio.to_thread.run_sync(function, *args, limiter=limiter)


def started_thread(work: Callable[[], object], name: str) -> threading.Thread | None:
    """Start a thread that keeps no process alive; return nothing where the system has none now, and warn once.

    Whoever is refused goes on without it, and asks again with the next run.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as fault:
        if once.first("thread", name):
            warn("the system has no thread for %s now, which is late until it has: %s", name, fault)
        return None
    return thread


class Upkeep:
    """A thread that does something every second, and at once when it is asked to.

    Start it with the first run of a process, so that a server that forks its workers never forks it.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name = name
        self._work = work
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if self._thread is None:
            self._thread = started_thread(self._repeat, self._name)

    def ask(self) -> None:
        """Let the thread work at once. Never waits."""
        self._asked.put(True)

    def stop(self) -> None:
        """End the thread when it has done what it is doing."""
        self._asked.put(False)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def forget(self) -> None:
        """In a forked child, there is no thread yet."""
        forks.leave_to_parent(self._asked)
        self._asked = queue.SimpleQueue()
        self._thread = None

    def _repeat(self) -> None:
        asked = self._asked
        while True:
            try:
                if not asked.get(timeout=_SECONDS):
                    return
                while not asked.empty():
                    if not asked.get():
                        return
            except queue.Empty:
                pass
            self._work()
