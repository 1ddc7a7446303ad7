"""The numbers of one task name: cheap to update, and consistent when they are read.

There is one lock per name, taken once per transition and once per copy, so the law holds in every scrape. It is
re-entrant, because the garbage collector may run a user's destructor while it is held.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import NamedTuple

from .._common import semconv
from .._common.cardinality import ERROR_TYPES
from .._common.model import Outcome, TaskRun

_BOUNDS = (*semconv.BUCKETS, float("inf"))


class Exemplar(NamedTuple):
    """One observation with a link to its trace."""

    trace_id: str
    span_id: str
    value: float
    timestamp: float


class Histogram:
    """A histogram: the number of values in each bucket, and an exemplar for each."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.exemplars: list[Exemplar | None] = [None] * len(_BOUNDS)
        self.total = 0.0

    def observe(self, value: float, run: TaskRun, now: float | None) -> None:
        """Add a value that was observed at ``now``, in seconds since the epoch."""
        bucket = bisect_left(_BOUNDS, value)
        self.counts[bucket] += 1
        self.total += value
        if run.sampled and run.trace_id is not None and run.span_id is not None:
            self.exemplars[bucket] = Exemplar(run.trace_id, run.span_id, value, now or 0.0)

    def copy(self) -> Histogram:
        """Return an independent copy."""
        twin = Histogram()
        twin.counts, twin.exemplars, twin.total = self.counts[:], self.exemplars[:], self.total
        return twin

    def buckets(self) -> list[tuple[float, int, Exemplar | None]]:
        """Return the buckets with cumulative counts, as Prometheus expects them."""
        cumulated, found = 0, []
        for bound, count, exemplar in zip(_BOUNDS, self.counts, self.exemplars, strict=True):
            cumulated += count
            found.append((bound, cumulated, exemplar))
        return found


class Tally:
    """The numbers of one task name; ``timed`` adds the histograms."""

    __slots__ = (
        "_lock",
        "durations",
        "ended",
        "failures",
        "name",
        "pending",
        "running",
        "scheduled",
        "started",
        "thread_wait",
        "timed",
        "wait",
    )

    def __init__(self, name: str, *, timed: bool) -> None:
        self._lock = threading.RLock()
        self.name = name
        self.timed = timed
        self.scheduled = 0
        self.started = 0
        self.pending = 0
        self.running = 0
        # start all outcomes at 0, so that rate() sees the first failure
        self.ended: dict[str, int] = {str(outcome): 0 for outcome in Outcome}
        self.failures: dict[str, int] = {}
        self.wait = Histogram()
        self.thread_wait: Histogram | None = None
        self.durations: dict[str, Histogram] = {}

    def count_scheduled(self) -> None:
        """Count a new run."""
        with self._lock:
            self.scheduled += 1
            self.pending += 1

    def count_started(self, run: TaskRun) -> None:
        """Move a run from pending to running."""
        with self._lock:
            self.started += 1
            self.pending -= 1
            self.running += 1
            if self.timed:
                self.wait.observe(run.wait or 0.0, run, run.started_at)

    def count_ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        outcome = str(run.outcome)
        with self._lock:
            self.ended[outcome] += 1
            if run.started_at is None:
                self.pending -= 1
            else:
                self.running -= 1
                if self.timed:
                    self._observe_times(run, outcome)
            if run.outcome is Outcome.FAILED:
                kind = ERROR_TYPES.admit(str(run.error_type))
                self.failures[kind] = self.failures.get(kind, 0) + 1

    def copy(self) -> Tally:
        """Return a copy in which the law holds."""
        twin = Tally(self.name, timed=self.timed)
        with self._lock:
            twin.scheduled, twin.started = self.scheduled, self.started
            twin.pending, twin.running = self.pending, self.running
            twin.ended, twin.failures = dict(self.ended), dict(self.failures)
            twin.wait = self.wait.copy()
            twin.thread_wait = self.thread_wait.copy() if self.thread_wait is not None else None
            twin.durations = {outcome: times.copy() for outcome, times in self.durations.items()}
        return twin

    def _observe_times(self, run: TaskRun, outcome: str) -> None:
        times = self.durations.get(outcome)
        if times is None:
            times = self.durations[outcome] = Histogram()
        times.observe(run.duration or 0.0, run, run.ended_at)
        if run.thread_wait is not None:
            if self.thread_wait is None:
                self.thread_wait = Histogram()
            self.thread_wait.observe(run.thread_wait, run, run.ended_at)


class Tallies(dict[str, Tally]):
    """The tallies of all task names, each created on first access."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__()
        self._timed = timed

    def __missing__(self, name: str) -> Tally:
        return self.setdefault(name, Tally(name, timed=self._timed))  # another thread may have been first

    def forget(self) -> None:
        """In a forked child, leave the numbers to the parent and restart every known name at 0."""
        at_zero = [name for name, tally in self.items() if not tally.scheduled]
        self.clear()
        for name in at_zero:
            self[name]  # a new tally: one of the parent's threads may have held the lock

    def copies(self) -> list[Tally]:
        """Return a copy of every tally."""
        return [tally.copy() for tally in list(self.values())]
