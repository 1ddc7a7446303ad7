"""The age of the oldest pending and the oldest running run. A stuck task shows here first."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from .._common import forks, semconv
from .._common.model import TaskRun

_ABSENT: Any = object()


class OldestRuns:
    """Keeps the open runs in order of age. The oldest is the first entry of a dictionary."""

    def __init__(self) -> None:
        self._pending: dict[TaskRun, None] = {}
        self._running: dict[TaskRun, None] = {}

    def scheduled(self, run: TaskRun) -> None:
        """Add a pending run."""
        self._pending[run] = None

    def started(self, run: TaskRun) -> bool:
        """Move a run from pending to running; return false if it was never added."""
        if self._pending.pop(run, _ABSENT) is _ABSENT:
            return False
        self._running[run] = None
        return True

    def ended(self, run: TaskRun) -> bool:
        """Remove a run; return false if it was never added."""
        if self._running.pop(run, _ABSENT) is not _ABSENT:
            return True
        return self._pending.pop(run, _ABSENT) is not _ABSENT

    def forget(self) -> None:
        """In a forked child, leave all runs to the parent."""
        forks.leave_to_parent(self._pending.copy(), self._running.copy())
        self._pending.clear()
        self._running.clear()

    def age(self, state: str) -> float:
        """Return the age in seconds of the oldest run in a state, 0 if there is none."""
        runs = self._pending if state == semconv.STATE_PENDING else self._running
        while True:
            try:
                run = next(iter(runs), None)
            except RuntimeError:  # another thread changed the dictionary
                continue
            if run is None:
                return 0.0
            return perf_counter() - (run._scheduled_tick if runs is self._pending else run._started_tick)
