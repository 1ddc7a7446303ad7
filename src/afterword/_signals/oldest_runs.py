"""How old the oldest run is that is pending or running: a stuck task shows here first."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from .._common import forks, semconv
from .._common.model import TaskRun

_ABSENT: Any = object()


class OldestRuns:
    """Keeps the has_open_runs runs in the order of their age; a dictionary keeps its first entry at hand."""

    def __init__(self) -> None:
        self._pending: dict[TaskRun, None] = {}
        self._running: dict[TaskRun, None] = {}

    def scheduled(self, run: TaskRun) -> None:
        """Enter a run as pending."""
        self._pending[run] = None

    def started(self, run: TaskRun) -> bool:
        """Move a run to the running ones; false if it was never entered."""
        if self._pending.pop(run, _ABSENT) is _ABSENT:
            return False
        self._running[run] = None
        return True

    def ended(self, run: TaskRun) -> bool:
        """Forget a run; false if it was never entered."""
        if self._running.pop(run, _ABSENT) is not _ABSENT:
            return True
        return self._pending.pop(run, _ABSENT) is not _ABSENT

    def forget(self) -> None:
        """Leave all runs to the parent, in a forked child."""
        forks.leave_to_parent(self._pending.copy(), self._running.copy())
        self._pending.clear()
        self._running.clear()

    def age(self, state: str) -> float:
        """Return the age in seconds of the oldest run in a state, 0 if there is none."""
        runs = self._pending if state == semconv.STATE_PENDING else self._running
        while True:
            try:
                run = next(iter(runs), None)
            except RuntimeError:  # another thread changed it between two bytecodes
                continue
            if run is None:
                return 0.0
            return perf_counter() - (run._scheduled_tick if runs is self._pending else run._started_tick)
