"""The thread of the journal: makes room ahead, shows that the process lives, and looks for the dead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

from ..._common import forks

_SECONDS: Final = 1.0


class Upkeep:
    """A thread that does something every second, and at once when it is asked to.

    It starts with the first run of a process, so that a server that forks its workers never forks this thread.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is running."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._repeat, name="afterword-journal", daemon=True)
            self._thread.start()

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
