"""OpenTelemetry metrics of a queue's tasks, by the same instruments as those of Starlette's."""

from __future__ import annotations

from ..._common import semconv
from ..._common.model import CELERY, TaskRun
from ..lost import DeadProcess
from ..otel_metrics import OtelMetrics, exemplar_context
from ..tallies.publishes import labels_of
from ..tallies.queues import QueueTallyingObserver


class QueueOtelMetrics(QueueTallyingObserver):
    """Records every transition for the instruments of one meter provider."""

    def __init__(self, metrics: OtelMetrics) -> None:
        super().__init__(metrics.queue_tallies)
        self._metrics = metrics

    def count_dead(self, dead: DeadProcess) -> None:
        """Count what a dead process has lost."""
        self._metrics.count_dead(dead)

    def published(self, run: TaskRun) -> None:
        """Note how long a publish took."""
        labels = zip(semconv.PUBLISH_DURATION.attributes, labels_of(run), strict=True)
        known = {name: value for name, value in labels if value}
        self._metrics.publish_duration.record(run._publish_time, known, exemplar_context(run))

    def started(self, run: TaskRun) -> None:
        """Count an attempt, how long it was held, and how long the first one waited."""
        super().started(run)
        attributes, context = {semconv.TASK_NAME: run.name, semconv.TASK_ENGINE: CELERY}, exemplar_context(run)
        if run._held_time is not None:
            self._metrics.held.record(run._held_time, attributes, context)
        if run.wait is not None:
            self._metrics.wait.record(run.wait, attributes, context)
        if run._is_skewed:
            self._metrics.clock_skewed.add(1)

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        super().ended(run)
        if run.started_at is not None:
            outcome = {semconv.TASK_OUTCOME: str(run.outcome)}
            attributes = {semconv.TASK_NAME: run.name, semconv.TASK_ENGINE: CELERY, **outcome}
            self._metrics.duration.record(run.duration or 0.0, attributes, exemplar_context(run))

    def observer_failed(self, observer: str) -> None:
        """Count an error of an observer."""
        self._metrics.observer_failed(observer)
