"""How long publishing took those who called for it, by queue and error: a dead Redis may hold them for 19 s."""

from __future__ import annotations

from ..._common.cardinality import ERROR_TYPES, QUEUES
from ..._common.model import CELERY, TaskRun


def labels_of(run: TaskRun) -> tuple[str, str, str]:
    """Return the queue, the error and the engine of a publish, bounded in number; empty if there is none."""
    queue = "" if run._destination is None else QUEUES.admit(run._destination)
    return queue, "" if run.error_type is None else ERROR_TYPES.admit(run.error_type), CELERY
