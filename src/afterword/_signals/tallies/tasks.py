"""The numbers of one task name: cheap to update, and consistent when they are read.

There is one lock per name, taken once per transition and once per copy, so the law holds in every scrape. It is
re-entrant, because the garbage collector may run a user's destructor while it is held.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Any, Generic, TypeVar

from ..._common.cardinality import ERROR_TYPES
from ..._common.model import FAILED, STARLETTE, Outcome, TaskRun
from ..._common.observer import TaskObserver
from ..._common.semconv import BOUNDS
from ..attributes import Why, why
from ..worker_threads import note_limiter

Exemplar = tuple[str, str, float, float]
"""A trace id, a span id, the value that was observed, and when, in seconds since the epoch."""


class Histogram:
    """A histogram, of a task's times by default: the number of values in each bucket, and an exemplar for each."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...] = BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * len(bounds)
        self.exemplars: list[Exemplar | None] = [None] * len(bounds)
        self.total = 0.0

    def observe(self, value: float, run: TaskRun | None, now: float | None) -> None:
        """Add a value that was observed at ``now``, in seconds since the epoch; of a run, or of none."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if run is not None and run.sampled:
            self.exemplars[bucket] = run.trace_id, run.span_id, value, now  # type: ignore[assignment]

    def copy(self) -> Histogram:
        """Return an independent copy."""
        twin = Histogram(self.bounds)
        twin.counts, twin.exemplars, twin.total = self.counts[:], self.exemplars[:], self.total
        return twin

    def buckets(self) -> list[tuple[float, int, Exemplar | None]]:
        """Return the buckets with cumulative counts, as Prometheus expects them."""
        cumulated, found = 0, []
        for bound, count, exemplar in zip(self.bounds, self.counts, self.exemplars, strict=True):
            cumulated += count
            found.append((bound, cumulated, exemplar))
        return found


class Tally:
    """The numbers of one task name; ``timed`` adds the histograms."""

    engine = STARLETTE

    __slots__ = (
        "durations",
        "ended",
        "failures",
        "lock",
        "lost",
        "name",
        "never_ran",
        "never_started",
        "returned",
        "scheduled",
        "started",
        "thread_wait",
        "timed",
        "wait",
    )

    def __init__(self, name: str, *, timed: bool) -> None:
        self.lock = threading.RLock()
        self.name = name
        self.timed = timed
        # pending and running follow from these, so nobody sees them disagree
        self.scheduled = 0
        self.started = 0
        self.never_started = 0
        # start all outcomes at 0, so that rate() sees the first failure
        self.ended: dict[str, int] = {str(outcome): 0 for outcome in Outcome}
        self.never_ran: dict[Why, int] = {}
        self.failures: dict[str, int] = {}
        self.returned: dict[str, int] = {}
        self.lost = 0
        self.wait = Histogram()
        self.thread_wait: Histogram | None = None
        self.durations: dict[str, Histogram] = {}

    @property
    def pending(self) -> int:
        """How many runs have not started."""
        return self.scheduled - self.started - self.never_started

    @property
    def running(self) -> int:
        """How many runs have started and not ended."""
        return self.started + self.never_started - sum(self.ended.values()) - self.lost

    def succeeded_counts(self) -> list[int]:
        """Return how many runs that succeeded each bucket of their durations has; nothing if there are none."""
        with self.lock:
            times = self.durations.get(Outcome.SUCCEEDED)
            return [] if times is None else times.counts[:]

    def copy(self) -> Tally:
        """Return a copy in which the law holds."""
        twin = type(self)(self.name, timed=self.timed)
        with self.lock:
            self._copy_to(twin)
        return twin

    def _copy_to(self, twin: Any) -> None:
        twin.scheduled, twin.started = self.scheduled, self.started
        twin.never_started, twin.lost = self.never_started, self.lost
        twin.ended, twin.failures, twin.returned = dict(self.ended), dict(self.failures), dict(self.returned)
        twin.never_ran = dict(self.never_ran)
        twin.wait = self.wait.copy()
        twin.thread_wait = self.thread_wait.copy() if self.thread_wait is not None else None
        twin.durations = {outcome: times.copy() for outcome, times in self.durations.items()}


AnyTally = TypeVar("AnyTally", bound=Tally)


class TalliesOf(dict[str, AnyTally]):
    """The tallies of all task names of one engine, each created on first access."""

    kind: type[AnyTally]

    def __init__(self, *, timed: bool) -> None:
        super().__init__()
        self._timed = timed

    def __missing__(self, name: str) -> AnyTally:
        return self.setdefault(name, self.kind(name, timed=self._timed))  # another thread may have been first

    def forget(self) -> None:
        """In a forked child, leave the numbers to the parent and restart every known name at 0."""
        at_zero = [name for name, tally in self.items() if not tally.scheduled]
        self.clear()
        for name in at_zero:
            self[name]  # a new tally: one of the parent's threads may have held the lock

    def copies(self) -> list[Tally]:
        """Return a copy of every tally."""
        return [tally.copy() for tally in list(self.values())]


class Tallies(TalliesOf[Tally]):
    """The tallies of Starlette's tasks."""

    kind = Tally


class ScheduledObserver(TaskObserver, Generic[AnyTally]):
    """Counts in tallies what is scheduled, as for every engine."""

    def __init__(self, tallies: TalliesOf[AnyTally]) -> None:
        self._tallies = tallies

    def prepare(self, name: str) -> None:
        """Start all outcomes of a task at 0, so that a rate sees its first failure."""
        self._tallies[name]  # created on access

    def scheduled(self, run: TaskRun) -> None:
        """Count a new run."""
        tally = self._tallies[run.name]
        with tally.lock:
            tally.scheduled += 1


class TallyingObserver(ScheduledObserver[Tally]):
    """Counts every transition in tallies, each in one step."""

    def started(self, run: TaskRun) -> None:
        """Count that a run has started, and how long it waited."""
        if not run.is_async:
            note_limiter()
        tally = self._tallies[run.name]
        with tally.lock:
            tally.started += 1
            if tally.timed:
                wait, value = tally.wait, run.wait or 0.0
                bucket = bisect_left(BOUNDS, value)  # as ``observe`` does, which would be one more call
                wait.counts[bucket] += 1
                wait.total += value
                if run.sampled:
                    wait.exemplars[bucket] = run.trace_id, run.span_id, value, run.started_at  # type: ignore[assignment]

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        tally, outcome = self._tallies[run.name], run.outcome or Outcome.ABANDONED
        with tally.lock:
            tally.ended[outcome] += 1
            if run.started_at is None:
                tally.never_started += 1
                told = why(run)
                tally.never_ran[told] = tally.never_ran.get(told, 0) + 1
            elif tally.timed:
                times = tally.durations.get(outcome) or tally.durations.setdefault(str(outcome), Histogram())
                times.observe(run.duration or 0.0, run, run.ended_at)
                if run.thread_wait is not None:
                    tally.thread_wait = tally.thread_wait or Histogram()
                    tally.thread_wait.observe(run.thread_wait, run, run.ended_at)
            if outcome is FAILED:
                kind = ERROR_TYPES.admit(str(run.error_type))
                tally.failures[kind] = tally.failures.get(kind, 0) + 1
