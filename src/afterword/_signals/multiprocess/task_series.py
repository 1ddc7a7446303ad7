"""The series of one worker among several, in files for all to read."""

from __future__ import annotations

from ..._common import semconv
from ..._common.cardinality import ERROR_TYPES
from ..._common.model import FAILED, STARLETTE, Outcome, TaskRun
from ..attributes import why
from .numbers import Book, Times, all_or_none


class ProcessSeries(dict[str, "TaskSeries"]):
    """All series of tasks; the counterpart of ``Tallies`` for several processes."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    def __missing__(self, name: str) -> TaskSeries:
        return self.setdefault(name, TaskSeries(self.book, name))


class TaskSeries:
    """The series of one task name, resolved once. If there is no room for them, nothing is counted.

    A dead process's lost runs are ``scheduled - ended``, two counters of one file. Whenever it is killed, a run
    was counted as scheduled before anything else, and as ended last.
    """

    def __init__(self, book: Book, name: str) -> None:
        self._book = book
        self._name = name
        self._scheduled = book.counter(semconv.SCHEDULED, name, STARLETTE)
        self._started = book.counter(semconv.STARTED, name, STARLETTE)
        self._pending = book.gauge(semconv.PENDING, name, STARLETTE)
        self._running = book.gauge(semconv.RUNNING, name, STARLETTE)
        self._wait = book.histogram(semconv.WAIT, name, STARLETTE)
        # start all outcomes at 0, so that rate() sees the first failure
        self._ended = {each: book.counter(semconv.ENDED, name, str(each), STARLETTE) for each in Outcome}
        self._lost = book.counter(semconv.LOST, name, STARLETTE)  # for the same reason; others count there
        self._durations: dict[Outcome, Times] = {}
        self._thread_wait: Times | None = None
        needed = (self._scheduled, self._started, self._pending, self._running, *self._ended.values())
        self._counts = all_or_none((*needed, *self._wait.slots))

    def count_scheduled(self) -> None:
        """Count a new run."""
        if self._counts:
            self._scheduled.inc()
            self._pending.inc()

    def count_started(self, run: TaskRun) -> None:
        """Move a run from pending to running."""
        if self._counts:
            self._started.inc()
            self._pending.dec()
            self._running.inc()
            self._wait.observe(run.wait or 0.0)

    def count_ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        if not self._counts:
            return
        outcome = run.outcome or Outcome.ABANDONED
        if run.started_at is None:
            self._pending.dec()
            self._book.counter(semconv.NEVER_RAN, self._name, *why(run), STARLETTE).inc()
        else:
            self._running.dec()
            self._observe_times(run, outcome)
        self._ended[outcome].inc()
        if outcome is FAILED:
            kind = ERROR_TYPES.admit(str(run.error_type))
            self._book.counter(semconv.FAILURES, self._name, kind, STARLETTE).inc()

    def succeeded_counts(self) -> list[float]:
        """Return how many runs of this process that succeeded each bucket has; nothing if there are none."""
        times = self._durations.get(Outcome.SUCCEEDED)
        return [] if times is None else times.counts()

    def _observe_times(self, run: TaskRun, outcome: Outcome) -> None:
        times = self._durations.get(outcome)
        if times is None:
            values = self._name, str(outcome), STARLETTE
            times = self._durations[outcome] = self._book.histogram(semconv.DURATION, *values)
        times.observe(run.duration or 0.0)
        if run.thread_wait is not None:
            if self._thread_wait is None:
                self._thread_wait = self._book.histogram(semconv.THREAD_WAIT, self._name, STARLETTE)
            self._thread_wait.observe(run.thread_wait)
