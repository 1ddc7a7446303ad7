"""What one worker among several writes down: numbers in its own files, each written where it is counted."""

from __future__ import annotations

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
from .shared_file import COUNTER, HISTOGRAM, KINDS, LIVE_MAX, LIVE_SUM, TOTAL, SharedFile, file_of, key_of

_BOUNDS = (*semconv.BUCKETS, float("inf"))
_COUNTERS = (
    *(semconv.SCHEDULED, semconv.STARTED, semconv.ENDED, semconv.FAILURES),
    *(semconv.LOST, semconv.REQUEST_ERRORS, semconv.OBSERVER_ERRORS),
)
_SUMS = (semconv.PENDING, semconv.RUNNING, semconv.THREADS_BUSY, semconv.THREADS_LIMIT, semconv.THREADS_WAITING)
_GREATEST = (semconv.OLDEST_AGE, semconv.INFO)
_HISTOGRAMS = (semconv.WAIT, semconv.THREAD_WAIT, semconv.DURATION)


class Slot:
    """One number; it counts nothing where there was no room for it."""

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

    def inc(self, amount: float = 1.0) -> None:
        """Add to it."""
        with self._book.ready():
            if self._file is not None:
                self._value += amount
                self._file.write_value(self._key, self._value, 0.0)

    def dec(self) -> None:
        """Take one off."""
        self.inc(-1.0)

    def set(self, value: float) -> None:
        """Put another number in its place."""
        with self._book.ready():
            if self._file is not None:
                self._value = value
                self._file.write_value(self._key, value, 0.0)

    def bind(self, files: dict[str, SharedFile]) -> None:
        """Find or make its place in the files of this process; raises ``OSError`` where there is no room."""
        self._file, self._value = None, 0.0
        file = files.get(self._kind)
        if file is not None:
            self._value, _ = file.read_value(self._key)
            self._file = file

    def unbind(self) -> None:
        """Count nothing any more."""
        self._file = None


class Times:
    """One histogram."""

    def __init__(self, slots: list[Slot], total: Slot) -> None:
        self.slots = [*slots, total]
        self._buckets = slots
        self._total = total

    def observe(self, value: float) -> None:
        """Add a value."""
        self._total.inc(value)
        self._buckets[bisect_left(_BOUNDS, value)].inc()


class Book:
    """The files of this process in one directory, and all numbers in them.

    A forked child gets files of its own when it first counts something. Every place in a file is made before
    anything is counted there, so that a disk that gets full takes no number away that is already counted.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.RLock()  # a destructor of the user's may run while it is held
        self._forked = False
        self._files: dict[str, SharedFile] = {}
        self._slots: dict[tuple[Any, ...], Slot] = {}
        self._told = False

    def open(self) -> None:
        """Make the files of this process; raises ``OSError`` where there is no room, and leaves none then."""
        with self._lock:
            if self._files:
                return
            close_own_account(self.path, os.getpid())  # of a dead process that had the same number
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

    def ready(self) -> threading.RLock:
        """Return the lock to write under; a forked process has its own files by then, or counts nothing."""
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
        """Return the place of one series; applications that share it add up."""
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
        """Return the place of a gauge, which goes with its process."""
        return self.slot(LIVE_MAX if metric in _GREATEST else LIVE_SUM, metric, "", values)

    def histogram(self, metric: semconv.Metric, *values: str) -> Times:
        """Return the places of a histogram: all of them, or none that counts."""
        buckets = [
            self.slot(HISTOGRAM, metric, "_bucket", values, (("le", floatToGoString(bound)),)) for bound in _BOUNDS
        ]
        times = Times(buckets, self.slot(HISTOGRAM, metric, "_sum", values))
        all_or_none(times.slots)
        return times

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
        """Leave the parent's files to it, in a forked child."""
        self._lock = threading.RLock()  # another thread of the parent may have held it
        self._forked = True
        self._told = False
        self._files = {}  # the parent's; it closes them itself
        for slot in self._slots.values():
            slot.unbind()


def all_or_none(slots: Iterable[Slot]) -> bool:
    """Let numbers that belong together count all of them or none; return which."""
    together = list(slots)
    if all(slot.counts for slot in together):
        return True
    for slot in together:
        slot.unbind()
    return False


class OwnNumbers(Collector):
    """The numbers of this process, for whoever reads its registry; a scrape of ours reads those of all."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that a second registration is an error."""
        kinds = (("counter", _COUNTERS), ("gauge", (*_SUMS, *_GREATEST)), ("histogram", _HISTOGRAMS))
        return [Metric(metric.prometheus, metric.help, kind) for kind, metrics in kinds for metric in metrics]

    def collect(self) -> Iterable[Metric]:
        """Return what the files of this process say; nothing where they are gone."""
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
    """Return the book of this process in a directory; there is one, however many registries share it."""
    return _books.setdefault(path, Book(path)) if path not in _books else _books[path]
