"""The series of one worker among several: prometheus_client's own types, in files for all to read."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .. import names
from ..bounds import ERROR_TYPES
from ..model import Outcome, TaskRun


class ProcessSeries(dict[str, "TaskSeries"]):
    """All series of tasks in one registry; what ``Tallies`` are for one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()

        def counter(metric: names.Metric) -> Counter:
            return Counter(metric.prometheus, metric.help, metric.labels, registry=registry)

        def gauge(metric: names.Metric) -> Gauge:
            return Gauge(
                metric.prometheus, metric.help, metric.labels, registry=registry, multiprocess_mode="livesum"
            )

        def histogram(metric: names.Metric) -> Histogram:
            return Histogram(
                metric.prometheus, metric.help, metric.labels, registry=registry, buckets=names.BUCKETS
            )

        self.scheduled = counter(names.SCHEDULED)
        self.started = counter(names.STARTED)
        self.ended = counter(names.ENDED)
        self.failures = counter(names.FAILURES)
        self.duration = histogram(names.DURATION)
        self.wait = histogram(names.WAIT)
        self.thread_wait = histogram(names.THREAD_WAIT)
        self.pending = gauge(names.PENDING)
        self.running = gauge(names.RUNNING)

    def __missing__(self, name: str) -> TaskSeries:
        return self.setdefault(name, TaskSeries(self, name))


class TaskSeries:
    """The series of one task name, resolved once."""

    def __init__(self, series: ProcessSeries, name: str) -> None:
        self._name = name
        self._scheduled = series.scheduled.labels(name)
        self._started = series.started.labels(name)
        self._pending = series.pending.labels(name)
        self._running = series.running.labels(name)
        self._wait = series.wait.labels(name)
        # all outcomes start at 0, so that rate() sees the first failure
        self._ended = {outcome: series.ended.labels(name, str(outcome)) for outcome in Outcome}
        self._durations: dict[Outcome, Any] = {}
        self._thread_wait: Any = None
        self._series = series

    def count_scheduled(self) -> None:
        """Count a run in."""
        self._scheduled.inc()
        self._pending.inc()

    def count_started(self, run: TaskRun) -> None:
        """Move a run from pending to running."""
        self._started.inc()
        self._pending.dec()
        self._running.inc()
        self._wait.observe(run.wait or 0.0)

    def count_ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        outcome = run.outcome or Outcome.ABANDONED
        if run.started_at is None:
            self._pending.dec()
        else:
            self._running.dec()
            self._observe_times(run, outcome)
        self._ended[outcome].inc()
        if outcome is Outcome.FAILED:
            kind = ERROR_TYPES.admit(str(run.error_type or run.reason))
            self._series.failures.labels(self._name, kind).inc()

    def _observe_times(self, run: TaskRun, outcome: Outcome) -> None:
        times = self._durations.get(outcome)
        if times is None:
            times = self._durations[outcome] = self._series.duration.labels(self._name, str(outcome))
        times.observe(run.duration or 0.0)
        if run.thread_wait is not None:
            if self._thread_wait is None:
                self._thread_wait = self._series.thread_wait.labels(self._name)
            self._thread_wait.observe(run.thread_wait)
