"""How a run can end, and why: closed sets, safe as labels."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

STARLETTE: Final = "starlette"
CELERY: Final = "celery"
"""The engine that runs a task: Starlette in the request's process, or Celery in a worker's."""


class Outcome(StrEnum):
    """How a run ended. Every run that was scheduled ends in exactly one of these."""

    __hash__ = str.__hash__  # equal to its text, so it needs the same hash; this one is as fast

    SUCCEEDED = "succeeded"
    """The function returned."""
    FAILED = "failed"
    """The function raised, or returned something that nothing will ever run."""
    CANCELLED = "cancelled"
    """The function was cancelled or torn down while it ran."""
    SKIPPED = "skipped"
    """It never ran, because an earlier task of the same batch failed or was cancelled."""
    DROPPED = "dropped"
    """It never ran, because its request failed, was answered by an exception, or lost its client."""
    ABANDONED = "abandoned"
    """It never ran, because nothing will ever call it."""


SUCCEEDED: Final = Outcome.SUCCEEDED
FAILED: Final = Outcome.FAILED
"""For where every task comes past: on Python 3.11, finding a member in its enumeration costs 900 instructions."""

STATE_PENDING: Final = "pending"
STATE_RUNNING: Final = "running"
"""The state of a run that has not ended."""

LOST: Final = "lost"
"""What became of a run that had not ended when its process died. No outcome: nobody saw it end."""


RETURNED: Final = "returned"
"""What became of an attempt of a queue's task that did not end the task. No outcome: the task goes on."""


def lost_detail(state: str | None, pid: int | None, engine: str = STARLETTE, shutdown: float | None = None) -> str:
    """Return what happened to a lost run, and what to do about it.

    ``shutdown`` says for how many seconds its process had been ending, if it had been told to.
    """
    if engine == CELERY:  # only what it had begun, and had acknowledged already
        return (
            f"the worker, process {pid}, died while it ran, its message acknowledged already, and nobody knows "
            "how far it came; nothing runs it again; with acks_late, its message would come again"
        )
    advice = "nothing runs it again; if it must survive that, use a queue"
    if shutdown is not None:
        told = f"its process {pid} had been told to end at least {shutdown:.1f} s before"
        advice = f"{told}, so give it a longer grace period, or make the task shorter; {advice}"
    if state == STATE_PENDING:
        return f"process {pid} died before it began, so nothing of it was done; {advice}"
    return f"process {pid} died while it ran, and nobody knows how far it came; {advice}"


class Reason(StrEnum):
    """Why a run did not succeed. A closed set, safe as a label or an attribute."""

    EXCEPTION = "exception"
    NEVER_AWAITED = "never_awaited"
    CANCELLED = "cancelled"
    EARLIER_TASK_FAILED = "earlier_task_failed"
    EARLIER_TASK_CANCELLED = "earlier_task_cancelled"
    REQUEST_FAILED = "request_failed"
    CLIENT_DISCONNECTED = "client_disconnected"
    NEVER_ATTACHED = "never_attached"
    RESPONSE_REPLACED = "response_replaced"
    ADDED_TOO_LATE = "added_too_late"
    REMOVED = "removed"
    WEBSOCKET = "websocket"
    UNKNOWN = "unknown"
    # of a queue's tasks
    IGNORED = "ignored"
    REPLACED = "replaced"
    REJECTED = "rejected"
    TIME_LIMIT = "time_limit"
    WORKER_LOST = "worker_lost"
    WORKER_SHUTDOWN = "worker_shutdown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    PUBLISH_FAILED = "publish_failed"
    UNREGISTERED = "unregistered"
    INVALID_MESSAGE = "invalid_message"
    # of an attempt that did not end its task
    RETRY = "retry"
    REQUEUED = "requeued"
    TAKEN_AWAY = "taken_away"
