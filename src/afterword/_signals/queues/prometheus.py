"""Prometheus metrics of a queue's tasks, in the same series as those of Starlette's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from ..._common import semconv
from ..._common.model import TaskRun
from ..._common.observer import QueueObserver
from ..lost import DeadProcess
from ..multiprocess.queue_series import QueueProcessSeries
from ..process_gauges import OldestAges
from ..prometheus import CountsRequests, Series, series_of
from ..tallies.publishes import labels_of
from ..tallies.queues import QueueTallies, QueueTallyingObserver


class QueuePrometheus(CountsRequests, QueueTallyingObserver):
    """Counts every transition in a ``prometheus_client`` registry."""

    def __init__(self, series: Series, tallies: QueueTallies) -> None:
        CountsRequests.__init__(self, series)
        QueueTallyingObserver.__init__(self, tallies)

    def published(self, run: TaskRun) -> None:
        """Note how long a publish took."""
        self._series.publishes.observe(run._publish_time, *labels_of(run), run=run)

    def started(self, run: TaskRun) -> None:
        """Count an attempt."""
        super().started(run)
        if run._is_skewed:
            self._series.count(semconv.CLOCK_SKEWED)

    def count_dead(self, dead: DeadProcess) -> None:
        """Count what a dead process has lost."""
        self._series.count_dead(dead)


class QueuePrometheusFiles(CountsRequests, QueueObserver):
    """Counts every transition in files, for several processes."""

    def __init__(self, series: Series, tasks: QueueProcessSeries) -> None:
        super().__init__(series)
        self._tasks = tasks

    def set_journaled(self, journaled: bool) -> None:
        """Say whether the runs of this process are written down."""
        self._tasks.book.set_journaled(journaled)

    def prepare(self, name: str) -> None:
        """Create the series of a task before it is first counted."""
        self._tasks[name]  # created on access

    def count_dead(self, dead: DeadProcess) -> None:
        """Make the files of a dead process agree with its journal."""
        self._series.count_dead(dead)

    def scheduled(self, run: TaskRun) -> None:
        """Count a published task."""
        if self._series.gauges is not None:
            self._series.gauges.start()  # which tells how full the queues are, too
        self._tasks[run.name].count_scheduled()

    def published(self, run: TaskRun) -> None:
        """Note how long a publish took."""
        self._tasks.book.histogram(semconv.PUBLISH_DURATION, *labels_of(run)).observe(run._publish_time)

    def received(self, run: TaskRun) -> None:
        """Count what this worker holds."""
        if self._series.gauges is not None:
            self._series.gauges.start()
        self._tasks[run.name].hold(1)

    def let_go(self, run: TaskRun) -> None:
        """Count what this worker holds no longer."""
        self._tasks[run.name].hold(-1)

    def started(self, run: TaskRun) -> None:
        """Count an attempt."""
        self._tasks[run.name].count_started(run)
        if run._is_skewed:
            self._series.count(semconv.CLOCK_SKEWED)

    def returned(self, run: TaskRun) -> None:
        """Count an attempt that did not end its task."""
        self._tasks[run.name].count_returned(run)

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        self._tasks[run.name].count_ended(run)


def queue_prometheus(
    registry: CollectorRegistry, oldest_ages: OldestAges
) -> QueuePrometheus | QueuePrometheusFiles:
    """Return an observer that counts in a registry; see ``series_of`` for what is raised."""
    series = series_of(registry, oldest_ages)
    if isinstance(series.queue_tasks, QueueTallies):
        return QueuePrometheus(series, series.queue_tasks)
    return QueuePrometheusFiles(series, series.queue_tasks)
