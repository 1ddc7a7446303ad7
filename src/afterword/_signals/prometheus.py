"""Prometheus metrics: one set of series per registry, shared by all its applications."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.registry import Collector

from .._common import __version__, forks, semconv
from .._common.cardinality import ERROR_TYPES, ROUTES, admit_status
from .._common.model import RequestInfo, TaskRun, full_name
from .._common.observer import TaskObserver
from .loop.lag import listeners
from .lost import DeadProcess
from .multiprocess.dead_processes import close_as_journaled
from .multiprocess.directory import directory, problem_with, several_processes
from .multiprocess.numbers import OwnNumbers, book_at
from .multiprocess.queue_series import QueueProcessSeries
from .multiprocess.task_series import ProcessSeries
from .process_gauges import GaugeCollector, GaugeWriter, OldestAges
from .prometheus_families import HistogramCollector, PlainCounter, TallyCollector
from .registry_collision import describe_collision
from .tallies.depths import DepthCollector
from .tallies.queues import QueueTallies, count_dead
from .tallies.tasks import Tallies, TallyingObserver
from .tallies.times import Times
from .worker_threads import note_limiter

_NO_TASKS = (semconv.REQUEST_ERRORS, semconv.OBSERVER_ERRORS, semconv.CLOCK_SKEWED, semconv.LOOP_BLOCKED)


class Unavailable(Exception):
    """Our series cannot be created, for a reason that the user can fix."""


class Series:
    """All our series in one registry; with several processes, in files of this process."""

    tasks: Tallies | ProcessSeries
    queue_tasks: QueueTallies | QueueProcessSeries
    gauges: GaugeWriter | None = None
    _read: GaugeCollector | None = None

    def __init__(self, registry: CollectorRegistry, oldest_ages: OldestAges) -> None:
        self._oldest_ages = oldest_ages
        self._metrics: dict[semconv.Metric, PlainCounter] = {}
        self.publishes = Times(semconv.PUBLISH_DURATION)
        self._lags = Times(semconv.LOOP_LAG)
        self._answers = Times(semconv.RESPONSE_DURATION)
        path = directory()
        self._book = book_at(path) if path is not None and several_processes() else None
        if self._book is not None:
            registry.register(OwnNumbers(self._book))
        else:
            self._keep_in(registry)

    def open(self) -> None:
        """Create the files for several processes; raises ``OSError`` if the disk is full."""
        book = self._book
        if book is not None:
            book.open()
            book.gauge(semconv.INFO, __version__).set(1)
            self.tasks = ProcessSeries(book)
            self.queue_tasks = QueueProcessSeries(book)
            self.gauges = GaugeWriter(book, self._oldest_ages)

    def _keep_in(self, registry: CollectorRegistry) -> None:
        self.tasks = Tallies(timed=True)
        self.queue_tasks = QueueTallies(timed=True)
        registry.register(TallyCollector(self.tasks, self.queue_tasks))
        self._read = GaugeCollector(self._oldest_ages)
        registry.register(self._read)
        registry.register(DepthCollector())
        registry.register(HistogramCollector(semconv.PUBLISH_DURATION, self.publishes.copies))
        registry.register(HistogramCollector(semconv.LOOP_LAG, self._lags.copies))
        registry.register(HistogramCollector(semconv.RESPONSE_DURATION, self._answers.copies))
        for metric in _NO_TASKS:
            self._metrics[metric] = PlainCounter(metric.prometheus, metric.help, metric.labels, registry=registry)
        info = semconv.INFO
        Gauge(info.prometheus, info.help, info.labels, registry=registry).labels(__version__).set(1)

    def count(self, metric: semconv.Metric, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter that is not of a task's account."""
        if self._book is not None:
            self._book.counter(metric, *labels).inc(amount)
        else:
            counter = self._metrics[metric]
            (counter.labels(*labels) if labels else counter).inc(amount)

    def lagged(self, seconds: float) -> None:
        """Count how late an event loop of this process was."""
        if self._book is not None:
            self._book.histogram(semconv.LOOP_LAG).observe(seconds)
            if self.gauges is not None:
                self.gauges.say_start()  # of a forked child, before its first task
        else:
            self._lags.observe(seconds)

    def blocked(self, seconds: float, task: str | None) -> None:
        """Count how long an event loop was held up, by which task if one did."""
        self.count(semconv.LOOP_BLOCKED, task or "", amount=seconds)

    def answered(self, seconds: float, *labels: str) -> None:
        """Count how long an answer took."""
        if self._book is not None:
            self._book.histogram(semconv.RESPONSE_DURATION, *labels).observe(seconds)
        else:
            self._answers.observe(seconds, *labels)

    def count_dead(self, dead: DeadProcess) -> None:
        """Count what a dead process has lost, or make its files agree with its journal."""
        tasks, queue_tasks = self.tasks, self.queue_tasks
        if isinstance(tasks, Tallies) and isinstance(queue_tasks, QueueTallies):
            count_dead(tasks, queue_tasks, dead)
        elif isinstance(queue_tasks, QueueProcessSeries):
            close_as_journaled(queue_tasks.book.path, dead)

    def forget(self) -> None:
        """In a forked child, leave the runs to the parent. Numbers in files restart by themselves."""
        if isinstance(self.tasks, Tallies):
            self.tasks.forget()
        if isinstance(self.queue_tasks, QueueTallies):
            self.queue_tasks.forget()
        self.publishes.forget()
        self._lags.forget()
        self._answers.forget()
        for gauges in (self.gauges, self._read):
            if gauges is not None:
                gauges.forget()


class _Staging(CollectorRegistry):
    """Holds collectors, to register all of them or none."""

    def __init__(self) -> None:
        super().__init__()
        self._staged: list[Collector] = []

    def register(self, collector: Collector) -> None:
        """Hold a collector."""
        self._staged.append(collector)

    def commit(self, registry: CollectorRegistry) -> None:
        """Register all collectors. If a name is taken, registers none and raises ``Unavailable``."""
        for number, collector in enumerate(self._staged):
            try:
                registry.register(collector)
            except ValueError as fault:
                self.withdraw(registry, number)
                raise Unavailable(describe_collision(registry, collector, fault)) from fault

    def withdraw(self, registry: CollectorRegistry, number: int | None = None) -> None:
        """Unregister the first ``number`` collectors, or all."""
        for collector in self._staged[:number]:
            registry.unregister(collector)


_of_registry: weakref.WeakKeyDictionary[CollectorRegistry, Series] = weakref.WeakKeyDictionary()


def _forget() -> None:
    for series in list(_of_registry.values()):
        series.forget()


forks.in_child(_forget)


def series_of(registry: CollectorRegistry, oldest_ages: OldestAges) -> Series:
    """Return our series in a registry, created on first access and shared by all applications.

    Raises ``Unavailable`` if an unrelated metric with the same name is registered, or if the directory for several
    processes cannot be used.
    """
    series = _of_registry.get(registry)
    if series is None or not _is_registered(registry):
        wrong = problem_with(directory())
        if wrong is not None:
            raise Unavailable(wrong)
        staging = _Staging()
        series = Series(staging, oldest_ages)
        staging.commit(registry)
        try:
            series.open()
        except OSError as fault:
            staging.withdraw(registry)
            raise Unavailable(f"no room in {directory()}: {fault}") from fault
        _of_registry[registry] = series
        listeners.add(series)
    return series


def _is_registered(registry: CollectorRegistry) -> bool:
    """Return whether our series are still registered; test suites clear registries."""
    return semconv.INFO.prometheus in getattr(registry, "_names_to_collectors", {})


def exported_by_opentelemetry(registry: CollectorRegistry) -> bool:
    """Return whether OpenTelemetry's ``PrometheusMetricReader`` exports into this registry.

    If so, the OpenTelemetry instruments are there already, under the same names.
    """
    collectors: Any = getattr(registry, "_collector_to_names", {})
    return any(type(c).__module__.startswith("opentelemetry.exporter.prometheus") for c in list(collectors))


def _of_request(info: RequestInfo, status: int | None) -> tuple[str, str, str]:
    """Return the labels of a request: its method, route and status."""
    return info.method or "", ROUTES.admit(info.route or ""), "" if status is None else str(admit_status(status))


class CountsRequests(TaskObserver):
    """What is counted in the same way in this process's memory and in files."""

    def __init__(self, series: Series) -> None:
        self._series = series

    def succeeded_counts(self, name: str) -> Sequence[float]:
        """Return how many runs of a task that succeeded in this process each bucket of their durations has."""
        known = self._series.tasks.get(name)
        return () if known is None else known.succeeded_counts()

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Count a failed request."""
        error = ERROR_TYPES.admit(full_name(exc))
        self._series.count(semconv.REQUEST_ERRORS, *_of_request(info, info.status), error)

    error_answered = request_failed

    def answered(self, info: RequestInfo, status: int | None, seconds: float) -> None:
        """Count how long the answer to a request took, in seconds."""
        self._series.answered(seconds, *_of_request(info, status))

    def observer_failed(self, observer: str) -> None:
        """Count an error of an observer."""
        self._series.count(semconv.OBSERVER_ERRORS, observer)


class Prometheus(CountsRequests, TallyingObserver):
    """Counts every transition in a ``prometheus_client`` registry."""

    def __init__(self, series: Series, tallies: Tallies) -> None:
        CountsRequests.__init__(self, series)
        TallyingObserver.__init__(self, tallies)

    def count_dead(self, dead: DeadProcess) -> None:
        """Count what a dead process has lost."""
        self._series.count_dead(dead)


class PrometheusFiles(CountsRequests):
    """Counts every transition in files, for several processes."""

    def __init__(self, series: Series, tasks: ProcessSeries) -> None:
        super().__init__(series)
        self._tasks = tasks

    def prepare(self, name: str) -> None:
        """Create the series of a task before it is first scheduled."""
        self._tasks[name]  # created on access

    def count_dead(self, dead: DeadProcess) -> None:
        """Make the files of a dead process agree with its journal."""
        self._series.count_dead(dead)

    def set_journaled(self, journaled: bool) -> None:
        """Say whether the runs of this process are written down."""
        self._tasks.book.set_journaled(journaled)

    def scheduled(self, run: TaskRun) -> None:
        """Count a new run."""
        if self._series.gauges is not None:
            self._series.gauges.start()
        self._tasks[run.name].count_scheduled()

    def started(self, run: TaskRun) -> None:
        """Move a run from pending to running."""
        if not run.is_async:
            note_limiter()
        self._tasks[run.name].count_started(run)

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        self._tasks[run.name].count_ended(run)


def prometheus(registry: CollectorRegistry, oldest_ages: OldestAges) -> Prometheus | PrometheusFiles:
    """Return an observer that counts in a registry; see ``series_of`` for what is raised."""
    series = series_of(registry, oldest_ages)
    if isinstance(series.tasks, Tallies):
        return Prometheus(series, series.tasks)
    return PrometheusFiles(series, series.tasks)
