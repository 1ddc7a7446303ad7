"""The tasks, one row a name: how their runs ended, how often, how long they took, and how that changed."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final

from .._common import semconv
from .._common.model import LOST, STARLETTE, Outcome
from .._common.text import clean
from .._ledger.journal import lines
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .keys import MAX_IN_LIST, iso, state
from .quantiles import quantiles
from .reader import Now, Reader, look, with_lost

MOST_RUNS: Final = 50_000
"""Runs that are looked at; of more, the newest."""
MOST_TASKS: Final = 200
BUCKETS: Final = 60
_FEWEST_SECONDS: Final = 60.0


class Task:
    """What is known of the runs of one task."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine = STARLETTE
        """Which engine ran the last one that was added."""
        self.counts: Counter[str] = Counter()
        self.waits: list[float] = []
        self.thread_waits: list[float] = []
        self.durations: list[float] = []
        self.history: defaultdict[int, Counter[str]] = defaultdict(Counter)
        """How runs ended, by the number of the part of the period."""
        self.ended = 0

    def add(self, record: Record, bucket: int) -> None:
        """Add a run that has ended."""
        outcome = record.outcome or LOST
        self.engine = record.engine
        self.ended += 1
        self.counts[outcome] += 1
        self.history[bucket][outcome] += 1
        if record.started_at is not None:
            self.waits.append(max(0.0, record.started_at - record.scheduled_at))
        if record.thread_wait is not None:
            self.thread_waits.append(record.thread_wait)
        if record.duration is not None:
            self.durations.append(record.duration)


class Period(dict[str, Task]):
    """The tasks of a period by name, and whether more runs ended in it than were looked at."""

    def __init__(self, begin: float, end: float) -> None:
        super().__init__()
        self.begin, self.end = begin, end
        self.truncated = False

    def __missing__(self, name: str) -> Task:
        task = self[name] = Task(name)
        return task

    def add(self, records: Iterable[Record]) -> None:
        """Add runs that have ended."""
        per_bucket = max(self.end - self.begin, 1e-6) / BUCKETS
        for record in records:
            bucket = int(((record.ended_at or 0.0) - self.begin) / per_bucket)
            self[record.task].add(record, min(max(bucket, 0), BUCKETS - 1))


def period(reader: Reader, now: Now, begin: float, end: float) -> Period:
    """Return what became of the tasks in a period; raises ``OSError``."""
    wanted = Filter(since=begin, until=end)
    records = with_lost(reader.ended(wanted), now.lost, wanted)
    found = Period(begin, end)
    found.add(itertools.islice(records, MOST_RUNS))
    found.truncated = next(records, None) is not None
    for record in now.in_flight:
        task = found[record.task]
        task.counts[state(record)] += 1
        task.engine = record.engine
    return found


def view(reader: Reader, since: float = 3600.0, *, now: float | None = None) -> dict[str, Any]:
    """Return the tasks of the last ``since`` seconds, by name; raises ``OSError``."""
    end = time.time() if now is None else now
    found = period(reader, look(reader), end - since, end)
    oldest = reader.source().oldest
    covered = since if oldest is None else min(since, end - oldest)
    minutes = max(covered, min(since, _FEWEST_SECONDS)) / 60
    shown = sorted(found.values(), key=lambda task: (-task.counts.total(), task.name))[:MOST_TASKS]
    return {
        "tasks": [_keys(task, found, minutes) for task in sorted(shown, key=lambda task: task.name)],
        "total": len(found),
        "truncated": found.truncated,
    }


def _keys(task: Task, period: Period, minutes: float) -> dict[str, Any]:
    per_bucket = (period.end - period.begin) / BUCKETS
    return {
        semconv.KEY_TASK: clean(task.name, MAX_IN_LIST),
        lines.ENGINE: task.engine,
        "counts": dict(task.counts),
        "total": task.ended,
        "per_minute": round(task.ended / minutes, 3),
        "failure_ratio": round(task.counts[Outcome.FAILED] / task.ended, 6) if task.ended else 0.0,
        semconv.KEY_WAIT: quantiles(task.waits),
        semconv.KEY_THREAD_WAIT: quantiles(task.thread_waits),
        semconv.KEY_DURATION: quantiles(task.durations),
        "history": [
            {"at": iso(period.begin + number * per_bucket), "counts": dict(task.history.get(number, {}))}
            for number in range(BUCKETS)
        ],
    }
