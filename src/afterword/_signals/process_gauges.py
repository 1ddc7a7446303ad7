"""Momentary values: the ages of the oldest runs, the use of the worker threads, and since when there are any.

In a single process they are read when Prometheus scrapes. With several processes only one answers a scrape, so
each process writes its values to shared files every second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Protocol

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .._common import semconv
from .._common.log import log_fault
from .._common.own_thread import started_thread
from .multiprocess.numbers import Book
from .tallies import depths
from .worker_threads import WorkerThreads, worker_threads


class Ages(Protocol):
    """How old the oldest runs of this process are, in seconds."""

    @property
    def by_state(self) -> Iterable[tuple[str, str, float]]:
        """States and engines, with the age of the oldest run there."""
        ...

    @property
    def running(self) -> Iterable[tuple[str, str, float]]:
        """Tasks and engines, with the age of the oldest run that runs."""
        ...


OldestAges = Callable[[], Ages]
"""Returns the ages of now; the ledger knows."""

_REFRESH_SECONDS = 1.0
_sampled: ContextVar[WorkerThreads | None] = ContextVar("afterword_sampled", default=None)
_THREADS = (semconv.THREADS_BUSY, semconv.THREADS_LIMIT, semconv.THREADS_WAITING)
_STARTS = (semconv.PROCESS_START, semconv.ACCOUNT_START)


def sample() -> None:
    """Read the use of the worker threads now, for a later rendering in this context."""
    _sampled.set(worker_threads())


class GaugeCollector(Collector):
    """Reads the values at the time of a scrape."""

    def __init__(self, oldest_ages: OldestAges) -> None:
        self._oldest_ages = oldest_ages
        self._start = time.time()

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that a second registration is an error."""
        return [_family(metric) for metric in (semconv.OLDEST_AGE, semconv.RUNNING_AGE, *_THREADS, *_STARTS)]

    def collect(self) -> Iterable[Metric]:
        """Return the families with their current values."""
        ages, oldest = self._oldest_ages(), (_family(semconv.OLDEST_AGE), _family(semconv.RUNNING_AGE))
        for family, found in zip(oldest, (ages.by_state, ages.running), strict=True):
            for *labels, age in found:
                family.add_metric(labels, age)
        threads = [_family(metric) for metric in _THREADS]
        for family, value in zip(threads, _sampled.get() or worker_threads(), strict=True):
            family.add_metric([], value)
        starts = [_family(metric) for metric in _STARTS]  # with a single process, both are one moment
        for family in starts:
            family.add_metric([], self._start)
        return [*oldest, *threads, *starts]

    def forget(self) -> None:
        """In a forked child, count from now on."""
        self._start = time.time()


def _family(metric: semconv.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.prometheus, metric.help, labels=metric.labels)


class GaugeWriter:
    """Writes the values of this process for the others, in a thread that starts with its first task."""

    def __init__(self, book: Book, oldest_ages: OldestAges) -> None:
        self._oldest_ages = oldest_ages
        self._book = book
        self._threads = [book.gauge(metric) for metric in _THREADS]
        self._started = False
        self._start = time.time()
        self._said = False
        self.say_start()

    def start(self) -> None:
        """Start the thread of this process, unless it is running."""
        if not self._started:
            self._started = True
            self._started = started_thread(self._run, "afterword-gauges") is not None

    def say_start(self) -> None:
        """Write when this process began, once. A forked child gets its files with its first number."""
        if not self._said:
            self._said = True
            self._book.gauge(semconv.PROCESS_START).set(self._start)
            self._book.gauge(semconv.ACCOUNT_START).set_first(self._start)

    def refresh(self) -> None:
        """Write the current values."""
        self.say_start()
        ages = self._oldest_ages()
        for metric, found in ((semconv.OLDEST_AGE, ages.by_state), (semconv.RUNNING_AGE, ages.running)):
            for *labels, age in found:
                self._book.gauge(metric, *labels).set(age)
        depths.write(self._book)
        for gauge, value in zip(self._threads, worker_threads(), strict=True):
            gauge.set(value)

    def forget(self) -> None:
        """In a forked child, leave the thread to the parent, and begin anew."""
        self._started = self._said = False
        self._start = time.time()

    def _run(self) -> None:
        told = False
        while True:
            try:
                self.refresh()
            except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
                if not told:
                    log_fault("the gauges of this process cannot be written; this is logged once", fault)
                told = True
            time.sleep(_REFRESH_SECONDS)
