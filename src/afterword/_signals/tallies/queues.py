"""The numbers of one task of a queue: it is published in one process, and runs in another."""

from __future__ import annotations

from typing import Any

from ..._common.cardinality import ERROR_TYPES, TASK_NAMES
from ..._common.model import CELERY, Outcome, Reason, TaskRun
from ..._common.observer import QueueObserver
from ..attributes import why
from ..lost import DeadProcess
from .tasks import Histogram, ScheduledObserver, TalliesOf, Tally

RETURNED: tuple[str, ...] = (
    *(str(Reason.RETRY), str(Reason.REQUEUED), str(Reason.WORKER_LOST)),
    *(str(Reason.WORKER_SHUTDOWN), str(Reason.TAKEN_AWAY)),
)
"""Why an attempt may end without ending its task."""


class QueueTally(Tally):
    """The numbers of one task in one process, which need not add up: that is for the sum over all processes.

    In a worker: started = running + succeeded + failed + cancelled + returned.
    """

    engine = CELERY

    __slots__ = ("active", "held", "held_times")

    def __init__(self, name: str, *, timed: bool) -> None:
        super().__init__(name, timed=timed)
        self.held = 0
        self.active = 0
        self.held_times = Histogram()
        self.returned = dict.fromkeys(RETURNED, 0)

    @property
    def pending(self) -> int:
        """How many this worker has received and not begun."""
        return self.held

    @property
    def running(self) -> int:
        """How many attempts run in this worker."""
        return self.active

    def _copy_to(self, twin: Any) -> None:
        super()._copy_to(twin)
        twin.held, twin.active, twin.held_times = self.held, self.active, self.held_times.copy()


class QueueTallies(TalliesOf[QueueTally]):
    """The tallies of a queue's tasks."""

    kind = QueueTally

    def forget(self) -> None:
        """In a forked child, forget everything: all is counted in the worker's main process."""
        self.clear()


def count_dead(tallies: TalliesOf[Tally], queue_tallies: QueueTallies, dead: DeadProcess) -> None:
    """Count what a dead process has lost, of each engine."""
    for run in dead.lost:
        name = TASK_NAMES.admit(run.task)
        if run.engine == CELERY:
            tally: Tally = queue_tallies[name]
            with tally.lock:
                tally.lost += 1  # whoever published it has counted it as scheduled
        else:
            tally = tallies[name]
            with tally.lock:  # as scheduled, too: those numbers died with its process
                tally.scheduled += 1
                tally.never_started += 1
                tally.lost += 1


class QueueTallyingObserver(ScheduledObserver[QueueTally], QueueObserver):
    """Counts every transition of a queue's tasks, each in one step."""

    def received(self, run: TaskRun) -> None:
        """Count what this worker holds."""
        tally = self._tallies[run.name]
        with tally.lock:
            tally.held += 1

    def let_go(self, run: TaskRun) -> None:
        """Count what this worker holds no longer."""
        tally = self._tallies[run.name]
        with tally.lock:
            tally.held -= 1

    def started(self, run: TaskRun) -> None:
        """Count an attempt; the first one of a task has waited."""
        tally = self._tallies[run.name]
        with tally.lock:
            tally.held -= run._held
            tally.active += 1
            tally.started += 1
            if tally.timed and run._held_time is not None:
                tally.held_times.observe(run._held_time, run, run.started_at)
            if tally.timed and run.wait is not None:
                tally.wait.observe(run.wait, run, run.started_at)

    def returned(self, run: TaskRun) -> None:
        """Count an attempt that did not end its task."""
        tally, reason = self._tallies[run.name], str(run.reason)
        with tally.lock:
            tally.active -= 1
            tally.returned[reason] = tally.returned.get(reason, 0) + 1

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        tally, outcome = self._tallies[run.name], str(run.outcome or Outcome.ABANDONED)
        with tally.lock:
            tally.ended[outcome] += 1
            if run.started_at is None:
                tally.held -= run._held
                told = why(run)
                tally.never_ran[told] = tally.never_ran.get(told, 0) + 1
            else:
                tally.active -= 1
                if tally.timed:
                    times = tally.durations.setdefault(outcome, Histogram())
                    times.observe(run.duration or 0.0, run, run.ended_at)
            if outcome == Outcome.FAILED:
                kind = ERROR_TYPES.admit(str(run.error_type))
                tally.failures[kind] = tally.failures.get(kind, 0) + 1
