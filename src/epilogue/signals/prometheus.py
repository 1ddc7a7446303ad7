"""Prometheus metrics: one set per registry, however many applications share it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .. import names
from .._version import __version__
from ..model import Outcome, RequestInfo, TaskObserver, TaskRun, full_name
from .now import watch_now
from .oldest import OldestRuns
from .threads import note_limiter


class _NoCreated:
    """Leaves out the ``_created`` series, whatever the process-wide setting of prometheus_client says."""

    def _child_samples(self) -> Iterable[Any]:
        return [s for s in super()._child_samples() if s.name != "_created"]  # type: ignore[misc]


class _Counter(_NoCreated, Counter):
    pass


class _Histogram(_NoCreated, Histogram):
    pass


class _TaskSeries:
    """The series of one task name, resolved once."""

    def __init__(self, series: Series, name: str) -> None:
        self.scheduled = series.scheduled.labels(name)
        self.started = series.started.labels(name)
        self.pending = series.pending.labels(name)
        self.running = series.running.labels(name)
        self.wait = series.wait.labels(name)
        # all outcomes start at 0, so that rate() sees the first failure
        self.ended = {outcome: series.ended.labels(name, str(outcome)) for outcome in Outcome}
        self._durations: dict[Outcome, Any] = {}
        self._thread_wait: Any = None
        self._series, self._name = series, name

    def duration(self, outcome: Outcome) -> Any:
        if outcome not in self._durations:
            self._durations[outcome] = self._series.duration.labels(self._name, str(outcome))
        return self._durations[outcome]

    def thread_wait(self) -> Any:
        if self._thread_wait is None:
            self._thread_wait = self._series.thread_wait.labels(self._name)
        return self._thread_wait


class Series:
    """All our series in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(metric: names.Metric) -> Counter:
            return _Counter(metric.prometheus, metric.help, metric.labels, registry=registry)

        def gauge(metric: names.Metric) -> Gauge:
            return Gauge(
                metric.prometheus, metric.help, metric.labels, registry=registry, multiprocess_mode="livesum"
            )

        def histogram(metric: names.Metric) -> Histogram:
            return _Histogram(
                metric.prometheus, metric.help, metric.labels, registry=registry, buckets=names.BUCKETS
            )

        self.scheduled = counter(names.SCHEDULED)
        self.started = counter(names.STARTED)
        self.ended = counter(names.ENDED)
        self.failures = counter(names.FAILURES)
        self.lost = counter(names.LOST)
        self.duration = histogram(names.DURATION)
        self.wait = histogram(names.WAIT)
        self.thread_wait = histogram(names.THREAD_WAIT)
        self.pending = gauge(names.PENDING)
        self.running = gauge(names.RUNNING)
        self.request_errors = counter(names.REQUEST_ERRORS)
        self.observer_errors = counter(names.OBSERVER_ERRORS)
        info = Gauge(
            names.INFO.prometheus,
            names.INFO.help,
            names.INFO.labels,
            registry=registry,
            multiprocess_mode="livemax",
        )
        info.labels(__version__).set(1)
        self.oldest = OldestRuns()
        self.now = watch_now(registry, self.oldest)
        self._tasks: dict[str, _TaskSeries] = {}

    def count_lost(self, name: str, count: float) -> None:
        """Count runs that were found in a dead process."""
        self.lost.labels(names.TASK_NAMES.admit(name)).inc(count)

    def task(self, name: str) -> _TaskSeries:
        """Return the series of one task, all outcomes included."""
        series = self._tasks.get(name)
        if series is None:
            series = self._tasks.setdefault(name, _TaskSeries(self, name))
        return series


_of_registry: weakref.WeakKeyDictionary[CollectorRegistry, Series] = weakref.WeakKeyDictionary()


def series_of(registry: CollectorRegistry) -> Series:
    """Return our series in a registry, made when it is first asked for; all applications share them.

    Raises ``ValueError`` if somebody else has registered a metric of the same name.
    """
    series = _of_registry.get(registry)
    if series is None:
        series = _of_registry[registry] = Series(registry)
    return series


def exported_by_opentelemetry(registry: CollectorRegistry) -> bool:
    """Return whether OpenTelemetry's ``PrometheusMetricReader`` exports into this registry.

    Then the OpenTelemetry instruments are already there under the same names.
    """
    collectors: Any = getattr(registry, "_collector_to_names", {})
    return any(type(c).__module__.startswith("opentelemetry.exporter.prometheus") for c in list(collectors))


class Prometheus(TaskObserver):
    """Counts every transition in a ``prometheus_client`` registry."""

    def __init__(self, registry: CollectorRegistry = prometheus_client.REGISTRY) -> None:
        self._series = series_of(registry)

    def prepare(self, name: str) -> None:
        """Make the series of a task that is known before it is first scheduled."""
        self._series.task(name)

    def scheduled(self, run: TaskRun) -> None:
        """Count it in."""
        if self._series.now is not None:
            self._series.now.start()
        series = self._series.task(run.name)
        self._series.oldest.scheduled(run)
        series.scheduled.inc()
        series.pending.inc()

    def started(self, run: TaskRun) -> None:
        """Move it from pending to running."""
        series = self._series.task(run.name)
        self._series.oldest.started(run)
        if not run.is_async:
            note_limiter()
        series.started.inc()
        series.pending.dec()
        series.running.inc()
        series.wait.observe(run.wait or 0.0, _exemplar(run))

    def ended(self, run: TaskRun) -> None:
        """Count its outcome."""
        series = self._series.task(run.name)
        self._series.oldest.ended(run)
        outcome = run.outcome or Outcome.ABANDONED
        if run.started:
            series.running.dec()
            exemplar = _exemplar(run)
            series.duration(outcome).observe(run.duration or 0.0, exemplar)
            if run.thread_wait is not None:
                series.thread_wait().observe(run.thread_wait, exemplar)
        else:
            series.pending.dec()
        series.ended[outcome].inc()
        if outcome is Outcome.FAILED:
            error_type = names.ERROR_TYPES.admit(str(run.error_type or run.reason))
            self._series.failures.labels(run.name, error_type).inc()

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Count a failed request."""
        self._series.request_errors.labels(
            info.method or "",
            names.ROUTES.admit(info.route or ""),
            "" if info.status is None else str(info.status),
            names.ERROR_TYPES.admit(full_name(exc)),
        ).inc()

    def observer_failed(self, observer: str) -> None:
        """Count a fault of an observer."""
        self._series.observer_errors.labels(observer).inc()


def _exemplar(run: TaskRun) -> dict[str, str] | None:
    if run.trace_id is None or run.span_id is None or not run.sampled:
        return None
    return {names.KEY_TRACE_ID: run.trace_id, names.KEY_SPAN_ID: run.span_id}
