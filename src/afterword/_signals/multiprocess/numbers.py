"""The numbers of one worker among several, written directly to its own files."""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from ..._common import semconv
from ..._common.forks import in_child
from ..._common.log import emit
from .dead_processes import close_own_account
from .shared_file import (
    COUNTER,
    HISTOGRAM,
    KINDS,
    LEAST,
    LIVE_MAX,
    LIVE_SUM,
    TOTAL,
    SharedFile,
    file_of,
    journal_mark_of,
    key_of,
)

_COUNTERS = (
    *(semconv.SCHEDULED, semconv.STARTED, semconv.ENDED, semconv.FAILURES, semconv.RETURNED, semconv.LOST),
    *(semconv.NEVER_RAN, semconv.REQUEST_ERRORS, semconv.OBSERVER_ERRORS, semconv.CLOCK_SKEWED),
    semconv.LOOP_BLOCKED,
)
_SUMS = (semconv.PENDING, semconv.RUNNING, semconv.THREADS_BUSY, semconv.THREADS_LIMIT, semconv.THREADS_WAITING)
_QUEUES = (semconv.QUEUE_MESSAGES, semconv.QUEUE_OLDEST_AGE)
_GREATEST = (semconv.OLDEST_AGE, semconv.RUNNING_AGE, *_QUEUES, semconv.PROCESS_START, semconv.INFO)
_LEAST = (semconv.ACCOUNT_START,)
_HISTOGRAMS = (
    *(semconv.WAIT, semconv.THREAD_WAIT, semconv.HELD, semconv.DURATION),
    *(semconv.PUBLISH_DURATION, semconv.LOOP_LAG, semconv.RESPONSE_DURATION),
)


class Slot:
    """One number. It counts nothing if there was no room for it."""

    __slots__ = ("_book", "_file", "_key", "_kind", "_value")

    def __init__(self, book: Book, kind: str, key: str) -> None:
        self._book = book
        self._kind = kind
        self._key = key
        self._file: SharedFile | None = None
        self._value = 0.0

    @property
    def counts(self) -> bool:
        """Whether there is room for it."""
        return self._file is not None

    @property
    def value(self) -> float:
        """What it is, as this process has counted."""
        return self._value

    def inc(self, amount: float = 1.0) -> None:
        """Add to it."""
        with self._book.ready():
            if self._file is not None:
                self._value += amount
                self._file.write_value(self._key, self._value, 0.0)

    def dec(self) -> None:
        """Subtract one."""
        self.inc(-1.0)

    def set(self, value: float) -> None:
        """Set it to a value."""
        with self._book.ready():
            if self._file is not None:
                self._value = value
                self._file.write_value(self._key, value, 0.0)

    def set_first(self, value: float) -> None:
        """Set it to a value, unless it has one of an earlier process with this pid."""
        with self._book.ready():
            if not self._value:
                self.set(value)

    def bind(self, files: dict[str, SharedFile]) -> None:
        """Find or create its place in the files of this process; raises ``OSError`` if the disk is full."""
        self._file, self._value = None, 0.0
        file = files.get(self._kind)
        if file is not None:
            self._value, _ = file.read_value(self._key)
            self._file = file

    def unbind(self) -> None:
        """Stop counting."""
        self._file = None


class Times:
    """One histogram."""

    def __init__(self, bounds: tuple[float, ...], slots: list[Slot], total: Slot) -> None:
        self._bounds = bounds
        self.slots = [*slots, total]
        self._buckets = slots
        self._total = total

    def observe(self, value: float) -> None:
        """Add a value."""
        self._total.inc(value)
        self._buckets[bisect_left(self._bounds, value)].inc()

    def counts(self) -> list[float]:
        """Return how many values each bucket has."""
        return [slot.value for slot in self._buckets]


class Book:
    """The files of this process in one directory, and all numbers in them.

    A forked child gets its own files when it first counts something. Every place in a file is allocated before
    anything is counted there, so that a full disk never loses a number.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.RLock()  # a user's destructor may run while it is held
        self._forked = False
        self._files: dict[str, SharedFile] = {}
        self._slots: dict[tuple[Any, ...], Slot] = {}
        self._histograms: dict[tuple[semconv.Metric, tuple[str, ...]], Times] = {}
        self._told = self._is_journaled = False

    def open(self) -> None:
        """Create the files of this process. If the disk is full, creates none and raises ``OSError``."""
        with self._lock:
            if self._files:
                return
            close_own_account(self.path, os.getpid())  # of a dead process with the same pid
            files: dict[str, SharedFile] = {}
            try:
                for kind in KINDS:
                    files[kind] = SharedFile(os.path.join(self.path, file_of(kind, os.getpid())))
                for slot in self._slots.values():
                    slot.bind(files)
            except OSError:
                for slot in self._slots.values():
                    slot.unbind()
                for kind, file in files.items():
                    file.close()
                    if file.is_new:
                        os.unlink(os.path.join(self.path, file_of(kind, os.getpid())))
                raise
            self._files = files
            self._mark()

    def set_journaled(self, journaled: bool) -> None:
        """Say whether this process writes its runs down, so that its account is closed by those who read that."""
        with self._lock:
            self._is_journaled = journaled
            if self._files:
                self._mark()

    def _mark(self) -> None:
        mark = os.path.join(self.path, journal_mark_of(os.getpid()))
        with contextlib.suppress(OSError):  # then it is closed as if there were no journal
            if self._is_journaled:
                os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o666))
            else:
                os.unlink(mark)

    def ready(self) -> threading.RLock:
        """Return the lock for writing. A forked process first gets its own files, or counts nothing."""
        if self._forked:
            with self._lock:
                if self._forked:
                    self._forked = False
                    try:
                        self.open()
                    except OSError as fault:
                        self._tell(fault)
        return self._lock

    def slot(
        self,
        kind: str,
        metric: semconv.Metric,
        suffix: str,
        values: tuple[str, ...],
        more: tuple[tuple[str, str], ...] = (),
    ) -> Slot:
        """Return the place of one series; applications that share it are summed."""
        with self.ready():
            place = (kind, metric, suffix, values, more)
            slot = self._slots.get(place)
            if slot is None:
                labels = (*metric.labels, *(label for label, _ in more))
                key = key_of(metric, suffix, labels, (*values, *(value for _, value in more)))
                slot = self._slots[place] = Slot(self, kind, key)
                try:
                    slot.bind(self._files)
                except OSError as fault:
                    self._tell(fault)
            return slot

    def counter(self, metric: semconv.Metric, *values: str) -> Slot:
        """Return the place of a counter."""
        return self.slot(COUNTER, metric, TOTAL, values)

    def gauge(self, metric: semconv.Metric, *values: str) -> Slot:
        """Return the place of a gauge; it is removed with its process, unless it is about the counters."""
        kind = LEAST if metric in _LEAST else LIVE_MAX if metric in _GREATEST else LIVE_SUM
        return self.slot(kind, metric, "", values)

    def histogram(self, metric: semconv.Metric, *values: str) -> Times:
        """Return the places of a histogram; all of them count, or none."""
        known = self._histograms.get((metric, values))
        if known is not None:
            return known
        bounds = [(("le", floatToGoString(bound)),) for bound in metric.bounds]
        buckets = [self.slot(HISTOGRAM, metric, "_bucket", values, bound) for bound in bounds]
        times = Times(metric.bounds, buckets, self.slot(HISTOGRAM, metric, "_sum", values))
        all_or_none(times.slots)
        return self._histograms.setdefault((metric, values), times)

    def own_files(self) -> list[str]:
        """Return the paths of this process's files."""
        with self._lock:
            return [os.path.join(self.path, file_of(kind, os.getpid())) for kind in self._files]

    def _tell(self, fault: OSError) -> None:
        if not self._told:
            self._told = True
            detail = f"{self.path}: {fault}; series that need more room are left out in this process"
            emit("error", semconv.EVENT_METRICS, {semconv.KEY_DETAIL: detail})

    def forget(self) -> None:
        """In a forked child, leave the files to the parent."""
        self._lock = threading.RLock()  # one of the parent's threads may have held it
        self._forked = True
        self._told = False
        self._files = {}  # the parent's; it closes them itself
        for slot in self._slots.values():
            slot.unbind()


def all_or_none(slots: Iterable[Slot]) -> bool:
    """Make related numbers count together or not at all; return whether they count."""
    together = list(slots)
    if all(slot.counts for slot in together):
        return True
    for slot in together:
        slot.unbind()
    return False


class OwnNumbers(Collector):
    """The numbers of this process, for readers of its registry; our own endpoint reads those of all."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that a second registration is an error."""
        kinds = (("counter", _COUNTERS), ("gauge", (*_SUMS, *_GREATEST, *_LEAST)), ("histogram", _HISTOGRAMS))
        return [Metric(metric.prometheus, metric.help, kind) for kind, metrics in kinds for metric in metrics]

    def collect(self) -> Iterable[Metric]:
        """Return the numbers in the files of this process; nothing if they were removed."""
        try:
            return list(MultiProcessCollector.merge(self._book.own_files()))
        except OSError:
            return []


_books: dict[str, Book] = {}


def _forget() -> None:
    for book in _books.values():
        book.forget()


in_child(_forget)


def book_at(path: str) -> Book:
    """Return the book of this process in a directory, shared by all its registries."""
    return _books.setdefault(path, Book(path)) if path not in _books else _books[path]
