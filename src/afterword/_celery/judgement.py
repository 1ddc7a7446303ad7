"""What became of an attempt: from Celery's exceptions to an outcome or a reason, and what to do about it."""

from __future__ import annotations

import inspect
from typing import Any, Final, NamedTuple

from billiard.exceptions import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import EncodeError

from .._common.model import Outcome, Reason
from .._common.task_names import unwrap

REPLACED: Final = "Replaced by new task"
"""What Celery says when a task replaces itself."""

TIME_LIMIT: Final = (
    "it ran into its hard time limit and was killed, and what it had done by then is done; raise its time_limit, "
    "or give it a soft_time_limit as well, which it can catch to clean up"
)
WORKER_LOST: Final = (
    "the process that ran it was killed, ran out of memory or called sys.exit, and what it had done by then is "
    "done; the kernel's log says whether memory was short; acks_late with reject_on_worker_lost would run it again"
)
WORKER_LOST_ONCE: Final = "the process that ran it was killed, ran out of memory or called sys.exit"
REVOKED: Final = "it was revoked and terminated while it ran; what it had done by then is done"
REVOKED_BEFORE: Final = "it was revoked before it began"
EXPIRED: Final = "no worker had begun it when it expired; more workers, or a later expiry, would help"
SHUTDOWN: Final = (
    "the worker was shut down cold while it ran, and its message was acknowledged already: nothing runs it again; "
    "acks_late would have put it back into the queue"
)
SHUTDOWN_LATE: Final = "the worker was shut down cold while it ran; its message comes again"
NEVER_AWAITED: Final = (
    "it is an async function, which Celery calls and never awaits, so nothing of it was done; make it a def that "
    "calls asyncio.run"
)
REJECTED: Final = "it rejected its message, which is gone"
REQUEUED: Final = "its message is in the queue again"
RETRIED: Final = "it will be tried again"
TAKEN_AWAY: Final = (
    "it ran longer than the broker waits for its acknowledgement, so another worker was given it meanwhile and "
    "runs it again; raise visibility_timeout in broker_transport_options above the longest task and countdown"
)
UNREGISTERED: Final = "the worker that received it has no task of this name; import its module there, or route it"
INVALID: Final = "its message could not be read as a task; the worker's log shows what came"
SKIPPED: Final = "{name} did not succeed, so this later step of its chain or chord was never published"


LOST: Final = (WorkerLostError, SystemExit, KeyboardInterrupt, Terminated)
"""What says that the process that ran a task is gone."""


class End(NamedTuple):
    """How an attempt ended. Without an outcome, it is given back and its task goes on."""

    outcome: Outcome | None
    reason: Reason | None = None
    detail: str | None = None
    exc: BaseException | None = None


SUCCEEDED: Final = End(Outcome.SUCCEEDED)


def given_back(reason: Reason, detail: str, exc: BaseException | None = None) -> End:
    """Return the end of an attempt that does not end its task."""
    return End(None, reason, detail, exc)


def ignored(exc: Any, task: Any) -> End:
    """Return what it means that a task was ignored."""
    return raised(exc if isinstance(exc, Ignore) else Ignore(), task)


def timed_out(timeout: Any, task: Any, *, requeued: bool) -> End:
    """Return what a hard time limit means."""
    return raised(TimeLimitExceeded(timeout), task, requeued=requeued)


def returned_value(value: Any) -> End:
    """Return what a task's return value means; ``value`` may be its text, in the main process."""
    if inspect.iscoroutine(value) or (isinstance(value, str) and value.startswith("<coroutine object ")):
        return End(Outcome.FAILED, Reason.NEVER_AWAITED, NEVER_AWAITED)
    return SUCCEEDED


def unwrapped(exc: Any) -> Any:
    """Return the exception inside billiard's wrapper."""
    return getattr(exc, "exc", exc) if type(exc).__name__ == "ExceptionWithTraceback" else exc


def raised(exc: Any, task: Any, *, requeued: bool = False) -> End:
    """Return what an exception that leaves a task means; ``requeued``: its message went back into the queue."""
    if isinstance(exc, Retry):
        return given_back(Reason.RETRY, RETRIED, exc.exc if isinstance(exc.exc, BaseException) else None)
    if isinstance(exc, Reject):
        if exc.requeue:
            return given_back(Reason.REQUEUED, REQUEUED)
        return End(Outcome.FAILED, Reason.REJECTED, REJECTED, _cause(exc))
    if isinstance(exc, Ignore):
        return End(Outcome.SUCCEEDED, Reason.REPLACED if str(exc) == REPLACED else Reason.IGNORED)
    if isinstance(exc, LOST):
        if requeued:
            return given_back(Reason.WORKER_LOST, f"{WORKER_LOST_ONCE}; {REQUEUED}", exc)
        return End(Outcome.FAILED, Reason.WORKER_LOST, WORKER_LOST, exc)
    if isinstance(exc, TimeLimitExceeded):
        if requeued:
            return given_back(Reason.REQUEUED, f"{TIME_LIMIT}; {REQUEUED}", exc)
        return End(Outcome.FAILED, Reason.TIME_LIMIT, TIME_LIMIT, exc)
    if requeued:
        return given_back(Reason.REQUEUED, REQUEUED, exc)
    if isinstance(exc, EncodeError | TypeError) and is_async(task):
        return End(Outcome.FAILED, Reason.NEVER_AWAITED, NEVER_AWAITED)
    detail = "it ran into its soft time limit" if isinstance(exc, SoftTimeLimitExceeded) else "it raised"
    return End(Outcome.FAILED, Reason.EXCEPTION, detail, exc)


def not_again(end: End, exc: Any) -> End:
    """Return what it means that an eager attempt is given back to nobody: there is no broker to bring it again."""
    if end.reason is Reason.REQUEUED:
        return End(Outcome.FAILED, Reason.REJECTED, REJECTED, _cause(exc) if isinstance(exc, Reject) else end.exc)
    return End(Outcome.FAILED, Reason.EXCEPTION, "it raised", end.exc or exc)


def is_async(task: Any) -> bool:
    """Return whether a task's function is ``async def``."""
    return inspect.iscoroutinefunction(unwrap(getattr(task, "run", None)))


def _cause(exc: Any) -> BaseException:
    reason = exc.reason
    cause: BaseException = reason if isinstance(reason, BaseException) else exc
    return cause
