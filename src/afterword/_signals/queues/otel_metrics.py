"""OpenTelemetry metrics of a queue's tasks, by the same instruments as those of Starlette's."""

from __future__ import annotations

from ..._common import semconv
from ..._common.model import CELERY, TaskRun
from ..lost import DeadProcess
from ..otel_metrics import OtelMetrics, exemplar_context
from ..tallies.queues import QueueTallyingObserver


class QueueOtelMetrics(QueueTallyingObserver):
    """Records every transition for the instruments of one meter provider."""

    def __init__(self, metrics: OtelMetrics) -> None:
        super().__init__(metrics.queue_tallies)
        self._metrics = metrics

    def count_dead(self, dead: DeadProcess) -> None:
        """Count what a dead process has lost."""
        self._metrics.count_dead(dead)

    def started(self, run: TaskRun) -> None:
        """Count an attempt, and how long the first one waited."""
        super().started(run)
        if run.wait is not None:
            attributes = {semconv.TASK_NAME: run.name, semconv.TASK_ENGINE: CELERY}
            self._metrics.wait.record(run.wait, attributes, exemplar_context(run))

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
