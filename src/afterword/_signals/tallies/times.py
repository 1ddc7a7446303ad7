"""Histograms that are no task's: how long publishes took, how late an event loop was."""

from __future__ import annotations

import threading

from ..._common.model import TaskRun
from ..._common.semconv import Metric
from .tasks import Histogram


class Times:
    """The histograms of one metric in this process, by its labels."""

    def __init__(self, metric: Metric) -> None:
        self._bounds = metric.bounds
        self._lock = threading.RLock()
        self._times: dict[tuple[str, ...], Histogram] = {}

    def observe(self, value: float, *labels: str, run: TaskRun | None = None) -> None:
        """Add a value, in seconds; the trace of ``run`` is its exemplar."""
        with self._lock:
            times = self._times.get(labels) or self._times.setdefault(labels, Histogram(self._bounds))
            times.observe(value, run, None if run is None else run.scheduled_at)

    def forget(self) -> None:
        """In a forked child, leave the numbers to the parent."""
        self._lock = threading.RLock()  # one of the parent's threads may have held it
        self._times = {}

    def copies(self) -> list[tuple[list[str], Histogram]]:
        """Return the labels of each histogram, and a copy of it."""
        with self._lock:
            return [([*labels], times.copy()) for labels, times in self._times.items()]
