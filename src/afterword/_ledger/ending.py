"""A process that is told to end: what it still waits for, and what became of that. Each is told once.

Nothing is counted before the end begins, so no task pays for it.
"""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import Final

from .._common import forks
from .._common.model import Outcome, TaskRun
from .._common.observer import TaskObserver
from .instrumentation import Instrumentation, unwatch, watch
from .runs import pending, running
from .server import is_ending


class _Counting(TaskObserver):
    """Counts how runs end, from the beginning of the end on."""

    def __init__(self) -> None:
        self.ends: Counter[tuple[Outcome, str]] = Counter()

    def ended(self, run: TaskRun) -> None:
        """Count it."""
        self.ends[run.outcome or Outcome.ABANDONED, run.name] += 1


class Ending:
    """The end of this process, from the signal to the last message of the lifespan."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child does."""
        self._began = False
        self._began_at = 0.0
        self._counting: _Counting | None = None
        self._waited = False

    def start_up(self) -> None:
        """Note that an application starts: a process may serve one after another."""
        if self._counting is None:
            self._began = False

    def look(self, instrumentation: Instrumentation) -> None:
        """Begin if the server has been told to end."""
        if not self._began and is_ending():
            self.begin(instrumentation)

    def begin(self, instrumentation: Instrumentation) -> None:
        """Note it in the journal, and tell what has not ended yet; once for a process."""
        journal, teller = instrumentation.journal, instrumentation.on_shutdown
        if self._began or (journal is None and teller is None):
            return
        self._began = True
        if journal is not None:
            journal.say_ending()
        if teller is None:
            return
        self._began_at = perf_counter()
        self._counting = _Counting()
        watch(self._counting)
        runs = _open_runs()
        self._waited = bool(runs)
        if runs:
            teller.waiting(runs)

    def end(self, instrumentation: Instrumentation) -> None:
        """Tell what became of what was waited for, and of what came after it."""
        counting, teller = self._counting, instrumentation.on_shutdown
        if counting is None or teller is None:
            return
        self._counting = None
        unwatch(counting)
        left = _open_runs()
        if self._waited or counting.ends or left:
            teller.ended(perf_counter() - self._began_at, counting.ends, left)


def _open_runs() -> list[TaskRun]:
    """Return what runs, then what has not started, each oldest first."""
    return [*running(), *pending()]


ending: Final = Ending()
forks.in_child(ending.forget)
