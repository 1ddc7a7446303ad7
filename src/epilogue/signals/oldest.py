"""How old the oldest run is that is pending or running: a stuck task shows here first."""

from __future__ import annotations

from time import perf_counter

from .. import names
from ..model import TaskRun


class OldestRuns:
    """Keeps the unended runs in the order of their age; a dictionary keeps its first entry at hand."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[TaskRun, float]] = {names.STATE_PENDING: {}, names.STATE_RUNNING: {}}
        self._pending, self._running = self._runs.values()

    def scheduled(self, run: TaskRun) -> None:
        """Enter a run as pending."""
        self._pending[run] = perf_counter()

    def started(self, run: TaskRun) -> None:
        """Move a run to the running ones."""
        self._pending.pop(run, None)
        self._running[run] = perf_counter()

    def ended(self, run: TaskRun) -> None:
        """Forget a run."""
        self._pending.pop(run, None)
        self._running.pop(run, None)

    def age(self, state: str) -> float:
        """Return the age in seconds of the oldest run in a state, 0 if there is none."""
        while True:
            try:
                since = next(iter(self._runs[state].values()), None)
            except RuntimeError:  # another thread changed it between two bytecodes
                continue
            return 0.0 if since is None else perf_counter() - since
