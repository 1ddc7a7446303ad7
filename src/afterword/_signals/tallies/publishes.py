"""How long publishing took those who called for it, by queue and error: a dead Redis may hold them for 19 s."""

from __future__ import annotations

import threading

from ..._common.cardinality import ERROR_TYPES, QUEUES
from ..._common.model import CELERY, TaskRun
from .tasks import Histogram


def labels_of(run: TaskRun) -> tuple[str, str, str]:
    """Return the queue, the error and the engine of a publish, bounded in number; empty if there is none."""
    queue = "" if run._destination is None else QUEUES.admit(run._destination)
    return queue, "" if run.error_type is None else ERROR_TYPES.admit(run.error_type), CELERY


class PublishTimes:
    """The histograms of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._times: dict[tuple[str, str, str], Histogram] = {}

    def observe(self, run: TaskRun) -> None:
        """Add a publish that is over."""
        labels = labels_of(run)
        with self._lock:
            times = self._times.get(labels) or self._times.setdefault(labels, Histogram())
            times.observe(run._publish_time, run, run.scheduled_at)

    def forget(self) -> None:
        """In a forked child, leave the numbers to the parent."""
        self._lock = threading.RLock()  # one of the parent's threads may have held it
        self._times = {}

    def copies(self) -> list[tuple[list[str], Histogram]]:
        """Return the labels of each histogram, and a copy of it."""
        with self._lock:
            return [([*labels], times.copy()) for labels, times in self._times.items()]
