"""Why a run will never run, and what kind of error an exception is: the judgements, apart from the bookkeeping."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from typing import TYPE_CHECKING, Any, Final

import anyio
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from .._common.ids import current_ids
from .._common.model import Outcome, Reason, full_name
from .._common.semconv import task_options
from .references import held_elsewhere

if TYPE_CHECKING:
    from .._common.model import TaskRun
    from .._ledger.deferred import TaskRecord
    from .state import RequestScope

ERROR: Final = "error"
CANCELLED: Final = "cancelled"
DISCONNECTED: Final = "disconnected"

# Starlette's words for an exception that has a handler but came too late for it
_TOO_LATE: Final = "Caught handled exception, but response already started."
# and for an application that ended without an answer: a task group takes a CancelledError for its own
_SILENT: Final = "No response returned."
_CHAIN: Final = 10


# --- exceptions -------------------------------------------------------------------------------------------------


def original(exc: BaseException) -> BaseException:
    """Return the exception that was raised, without the wrapping of task groups and of Starlette."""
    for _ in range(_CHAIN):
        if isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
            exc = exc.exceptions[0]
        elif type(exc) is RuntimeError and exc.args == (_TOO_LATE,) and exc.__cause__ is not None:
            exc = exc.__cause__
        else:
            break
    return exc


def same_error(exc: BaseException, known: BaseException) -> bool:
    """Return whether an exception is a known one or was raised because of it: one error, one report."""
    seen: BaseException | None = exc
    for _ in range(_CHAIN):
        if seen is known:
            return True
        if seen is None:
            return False
        seen = seen.__cause__ or seen.__context__
    return False


def is_silence(exc: BaseException) -> bool:
    """Return whether an exception only says that another one, which somebody swallowed, left no answer."""
    return type(exc) is RuntimeError and exc.args == (_SILENT,)


def is_cancellation(exc: BaseException) -> bool:
    """Return whether an exception means that somebody else stopped the code, on asyncio and on trio.

    A ``CancelledError`` that nobody asked for is an error like any other: the code awaited something that had
    been cancelled. Only the task that it passes through knows that, so ask in there.
    """
    if isinstance(exc, Exception):
        return False
    if isinstance(exc, GeneratorExit | KeyboardInterrupt):
        return True
    try:
        if not isinstance(exc, anyio.get_cancelled_exc_class()):
            return False
        task = current_task() if isinstance(exc, CancelledError) else None
        return task is None or task.cancelling() > 0
    except Exception:  # noqa: BLE001  no event loop is running
        return type(exc).__name__ in ("CancelledError", "Cancelled")


def is_error(exc: BaseException) -> bool:
    """Return whether code went wrong by itself; behind an exit or a cancellation nothing more is called."""
    return isinstance(exc, Exception) or (isinstance(exc, CancelledError) and not is_cancellation(exc))


def failure_kind(exc: BaseException, request_kind: str) -> str:
    """Return what an exception means for its request: only its own client can leave it."""
    if request_kind == "websocket":
        disconnected = isinstance(exc, WebSocketDisconnect)
    else:
        disconnected = isinstance(exc, ClientDisconnect) or isinstance(exc.__cause__, ClientDisconnect)
    if disconnected:
        return DISCONNECTED
    return CANCELLED if is_cancellation(exc) else ERROR


class Doom:
    """What is kept of a failure beside a task that may yet be called: not its exception, which holds the task."""

    __slots__ = ("error_type", "exc", "kind")

    def __init__(self, kind: str, error_type: str) -> None:
        self.kind = kind
        self.error_type = error_type
        self.exc = None


class Failure:
    """One exception that reached the exception middleware, and what has been done about it."""

    __slots__ = (
        "answered",
        "before_response",
        "dropped",
        "exc",
        "inside",
        "kind",
        "logged",
        "reached",
        "reported",
        "rescued",
        "span_id",
        "trace_id",
        "traceback",
    )

    def __init__(self, exc: BaseException, kind: str, *, before_response: bool) -> None:
        self.exc = exc
        self.kind = kind
        self.reached: BaseException | None = exc
        """The exception as it came here last, perhaps in a group: it holds the frames."""
        self.traceback = exc.__traceback__
        """What Starlette takes off an exception that it has handled."""
        self.before_response = before_response
        """It came before a response had begun, so that a handler or a middleware could still answer."""
        self.reported = False
        self.logged = False
        """A line with its traceback has gone out."""
        self.inside = False
        """It was reported by an application mounted inside."""
        self.answered = False
        """The user's error tasks have been run for it."""
        self.dropped = False
        """A run was dropped because of it."""
        self.rescued: list[Any] = []
        """The tasks that asked to run although their request failed."""
        self.trace_id: str | None
        self.span_id: str | None
        self.trace_id, self.span_id = current_ids()

    @property
    def error_type(self) -> str:
        """The full name of the exception's type."""
        return full_name(self.exc)


# --- runs that never ran ----------------------------------------------------------------------------------------


def keep_for_rescue(failure: Failure, record: TaskRecord) -> None:
    """Keep a task that asked to run although its request failed; a timeout may yet be answered with a 504."""
    task = record()
    if task is not None and failure.kind != DISCONNECTED and task_options(task.func).run_on_request_error:
        failure.rescued.append(task)


def drops(scope: RequestScope, failure: Failure) -> bool:
    """Return whether tasks never run because of a failure: neither rescued nor on the error response."""
    return failure.dropped or any(
        record.doom is failure and not record.unsent and not any(record() is task for task in failure.rescued)
        for record in list(scope.runs.values())
    )


def settle(scope: RequestScope, run: TaskRun, record: TaskRecord) -> None:
    """Judge a run that is still pending when its request ends: give up only what nobody can call any more.

    What may yet be called stays pending, and is given up when its task object dies.
    """
    if record() is not None and _may_be_called(scope, record):
        if record.doom is not None:
            record.doom = Doom(record.doom.kind, record.doom.error_type)
    else:
        give_up(scope, run, record)


def _may_be_called(scope: RequestScope, record: TaskRecord) -> bool:
    batch = record.batch
    if scope.inside or (batch is not None and batch.called and not batch.finished):
        return True  # a middleware has answered in the endpoint's place, or somebody else runs the batch just now
    if record.doom is not None:
        return isinstance(record.doom, Doom) or held_elsewhere(record, record.doom, scope.asgi)
    return not record.unsent and (batch is None or not batch.finished)


def give_up(scope: RequestScope, run: TaskRun, record: TaskRecord) -> None:
    """End a run that nothing will ever call, with the best reason there is."""
    if record.doom is not None:
        _drop(scope, run, record.doom)
        record.doom = None  # its exception is not kept
    else:
        outcome, reason, detail = _why(scope, record)
        scope.account.ledger.give_up(run, outcome, reason, detail)
    scope.release(run)


def _drop(scope: RequestScope, run: TaskRun, failure: Failure | Doom) -> None:
    if isinstance(failure, Failure):
        failure.dropped = True
    name = run.error_type = failure.error_type
    if failure.kind == DISCONNECTED:
        reason = Reason.CLIENT_DISCONNECTED
        detail = "the client went away before the task could start; do work that must be done before answering"
    elif failure.kind == CANCELLED:
        reason = Reason.REQUEST_FAILED
        detail = (
            "the request was cancelled before the task could start; if that was a timeout which is answered with "
            "an error, @task(run_on_request_error=True) runs it all the same; if it was the server's shutdown, "
            "give the server a longer grace period"
        )
    else:
        reason = Reason.REQUEST_FAILED
        detail = (
            f"the request ended in {name}, and the tasks hung on the response that was never built; "
            "if it must run all the same, decorate it with @task(run_on_request_error=True)"
        )
    scope.account.ledger.give_up(run, Outcome.DROPPED, reason, detail, failure.exc)


def _why(scope: RequestScope, record: TaskRecord) -> tuple[Outcome, Reason, str]:
    batch = record.batch
    if batch is not None and batch.failed is not None:
        return Outcome.SKIPPED, *skipped(batch.failed)
    if batch is not None and batch.called and not batch.finished:
        return Outcome.SKIPPED, *skipped(None)
    if batch is not None and batch.finished:
        return (
            Outcome.ABANDONED,
            Reason.ADDED_TOO_LATE,
            "it was added after its batch had run, as in the exit of a yield dependency; add it before the "
            "response is returned",
        )
    if scope.kind == "websocket" and batch is not None and batch.injected:
        return (
            Outcome.ABANDONED,
            Reason.WEBSOCKET,
            "FastAPI runs no background tasks behind a WebSocket; await the function, or start a task for it",
        )
    if record.unsent:
        return (
            Outcome.ABANDONED,
            Reason.RESPONSE_REPLACED,
            "the error response that carried it was never sent, because another response had begun",
        )
    if batch is not None and batch.injected:
        return _injected(scope)
    return (
        Outcome.ABANDONED,
        Reason.NEVER_ATTACHED,
        "no response that was sent carried it; return Response(..., background=tasks), or take BackgroundTasks "
        "as a parameter of the endpoint",
    )


def _injected(scope: RequestScope) -> tuple[Outcome, Reason, str]:
    if scope.background_ran:
        return (
            Outcome.ABANDONED,
            Reason.RESPONSE_REPLACED,
            "the endpoint returned a response with a background of its own, which replaces the injected tasks; "
            "pass the injected BackgroundTasks as that response's background, or add everything to it",
        )
    return (
        Outcome.ABANDONED,
        Reason.UNKNOWN,
        "the request ended without calling it; something between the endpoint and the response (a custom route "
        "class, a decorator) answered in its place",
    )


def skipped(stopped_by: TaskRun | None, exc: BaseException | None = None) -> tuple[Reason, str]:
    """Say why the rest of a batch was skipped: because of a run, an error, or the batch's destruction."""
    culprit = "an earlier member of its batch" if stopped_by is None else stopped_by.name
    if stopped_by is not None:
        was_cancelled = stopped_by.outcome is Outcome.CANCELLED
        error = stopped_by.error_type
    else:
        was_cancelled = exc is None or is_cancellation(exc)
        error = full_name(exc)
    if was_cancelled:
        return (
            Reason.EARLIER_TASK_CANCELLED,
            f"{culprit} was cancelled before it, mostly by the server's shutdown; give the server a longer grace "
            "period, make that task shorter, or put this one first",
        )
    return (
        Reason.EARLIER_TASK_FAILED,
        f"{culprit} failed before it with {error}; a batch stops at its first error, so catch it in that task, or "
        "put this one first",
    )


def never_awaited(result: Any) -> str:
    """Say what is wrong with a task that returned something to be run."""
    return (
        f"it returned something that nobody awaits or iterates ({type(result).__name__}), so its body never "
        "ran; schedule the function itself, not a lambda around it, and no generator function"
    )
