"""Without a journal: the last runs of this process, in memory, as the lines that a journal would have of them.

A line holds names, times, ids and what may be told of an exception; never the exception itself, nor an argument.
"""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Final

from .._common import forks
from .._common.model import TaskRun
from .._common.observer import TaskObserver
from .journal import layout
from .journal.history import Filter, Process, among
from .journal.lines import encoded, first_part, line
from .journal.records import Record, parse_line, parse_slot

MOST: Final = 10_000
MOST_BYTES: Final = 16 << 20


class RecentRuns(TaskObserver):
    """What this process has in flight, and its last runs, bounded in number and in bytes.

    It comes after the observer that gives a run the ids of its span, and before those that may take long. Nothing
    of a run that has ended is kept but its line.
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self.most = most
        self._most_bytes = most_bytes
        self.process = layout.new_id()
        self._open: dict[TaskRun, str] = {}
        """The runs in flight, and how their lines will begin."""
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        _all.add(self)

    def scheduled(self, run: TaskRun) -> None:
        """Note what is known of it now: its ids will be others when it has started."""
        self._open[run] = first_part(run)

    def ended(self, run: TaskRun) -> None:
        """Keep its line, and let go of the oldest where there are too many."""
        first = self._open.pop(run, None)
        written = line(first_part(run) if first is None else first, run)
        size = len(written)
        self._lines.append(written)
        # another thread may come between two calls, not within an addition
        self._bytes += size
        while self._bytes > self._most_bytes or len(self._lines) > self.most:
            try:
                size = len(self._lines.popleft())
            except IndexError:  # another thread was faster
                break
            self._bytes -= size

    # --- reading ------------------------------------------------------------------------------------------------

    def lines(self) -> list[bytes]:
        """Return the lines of the runs that ended last, oldest first."""
        while True:
            try:
                return list(self._lines)
            except RuntimeError:  # another thread has changed it
                continue

    def history(self, wanted: Filter) -> Iterator[Record]:
        """Yield the runs that have ended, newest first."""
        needles = wanted.needles()
        found = (
            told for told in reversed(self.lines()) if not needles or any(needle in told for needle in needles)
        )
        return among((told.rstrip(b"\n") for told in found), self.process, wanted)

    def oldest(self) -> float | None:
        """Return when the oldest of the runs ended that are kept; ``None`` without any."""
        records = (parse_line(told, self.process) for told in self.lines()[:1])
        return next((record.ended_at for record in records if record is not None), None)

    def in_flight(self, wanted: Filter) -> list[Record]:
        """Return the runs in flight, oldest first."""
        records = [record for run, first in self._in_flight() if (record := self._record(run, first)) is not None]
        return sorted(filter(wanted.wants, records), key=lambda record: record.scheduled_at)

    def in_flight_count(self) -> tuple[int, int]:
        """Return how many runs are pending and how many are running."""
        runs = [run.started for run, _ in self._in_flight()]
        return runs.count(False), runs.count(True)

    def this_process(self) -> Process:
        """Return this process, as a journal would tell it."""
        return Process(self.process, os.getpid(), True, time.time())

    def _in_flight(self) -> list[tuple[TaskRun, str]]:
        while True:
            try:
                return [(run, first) for run, first in self._open.items() if run.outcome is None]
            except RuntimeError:  # another thread has changed it
                continue

    def _record(self, run: TaskRun, first: str) -> Record | None:
        started_at = run.started_at
        ids = run.trace_id or "", run.span_id or "", run.sampled
        slot = layout.Slot(started_at is not None, started_at or 0.0, *ids, encoded(first))
        record = parse_slot(slot, self.process, os.getpid(), alive=True)
        if record is not None:
            record.seen_at = time.time()
        return record

    def forget(self) -> None:
        """In a forked child, begin anew: what there is belongs to the parent."""
        forks.leave_to_parent(self._open)
        self.process = layout.new_id()
        self._open, self._lines, self._bytes = {}, deque(), 0


_all: weakref.WeakSet[RecentRuns] = weakref.WeakSet()


def _forget() -> None:
    for recent in list(_all):
        recent.forget()


forks.in_child(_forget)
