"""Decides what an exception means for its request: a failure, a cancellation, a lost client. Reports it once."""

from __future__ import annotations

from asyncio import CancelledError, current_task
from typing import Final

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from .._common.errors.validation import learn_parameters, quotes_input
from .._common.http_request import path_and_client
from .._common.model import RequestInfo
from .._common.task_names import task_options
from .._ledger.runs import is_pending
from .holders import was_removed
from .http_route import locate
from .state import CANCELLED, DISCONNECTED, ERROR, FailureSummary, RequestFailure, RequestState

# Starlette's words for an exception that has a handler but came too late for it
_TOO_LATE: Final = "Caught handled exception, but response already started."
# and for an application that ended without an answer: a task group takes a CancelledError for its own
_SILENT: Final = "No response returned."
_CHAIN: Final = 10

# --- kinds of exceptions ----------------------------------------------------------------------------------------


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
    """Return whether the code itself went wrong. After an exit or a cancellation, nothing more is called."""
    return isinstance(exc, Exception) or (isinstance(exc, CancelledError) and not is_cancellation(exc))


def failure_kind(exc: BaseException, request_kind: str) -> str:
    """Return what an exception means for its request. Only the request's own client can leave it."""
    if request_kind == "websocket":
        disconnected = isinstance(exc, WebSocketDisconnect)
    else:
        disconnected = isinstance(exc, ClientDisconnect) or isinstance(exc.__cause__, ClientDisconnect)
    if disconnected:
        return DISCONNECTED
    return CANCELLED if is_cancellation(exc) else ERROR


def unwrapped(exc: BaseException) -> BaseException:
    """Return the exception that was raised, without the wrapping of task groups and of Starlette."""
    for _ in range(_CHAIN):
        if isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
            exc = exc.exceptions[0]
        elif type(exc) is RuntimeError and exc.args == (_TOO_LATE,) and exc.__cause__ is not None:
            exc = exc.__cause__
        else:
            break
    return exc


def _same_error(exc: BaseException, known: list[BaseException]) -> bool:
    """Return whether an exception is a known one or was raised because of it: one error, one report."""
    seen: BaseException | None = exc
    for _ in range(_CHAIN):
        if seen is None:
            return False
        if any(seen is one for one in known):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _is_silence(exc: BaseException) -> bool:
    """Return whether an exception only says that there was no answer, because another one was swallowed."""
    return type(exc) is RuntimeError and exc.args == (_SILENT,)


# --- it is recorded ---------------------------------------------------------------------------------------------


def record_request_error(
    request: RequestState, exc: BaseException, depth: int | None = None
) -> RequestFailure | None:
    """Judge an exception that reached the exception middleware or left the application.

    Runs that have not started are dropped because of it, unless a middleware tries again and runs them. ``None``
    if it came from a task that was called after the complete response: then the request did not fail.

    Args:
        request: whose error it is.
        exc: the exception.
        depth: how many calls of the application are active around it. If ``request.inside`` is higher, a
            middleware raised; the calls inside go on and may still run their tasks.
    """
    reached, exc = exc, unwrapped(exc)
    if request.task_failed or request.forked:
        return None
    kind = DISCONNECTED if exc is request.lost_client else failure_kind(exc, request.kind)
    answered = any(earlier.before_response for earlier in request.failures)  # by a handler, perhaps
    failure = _known_failure(request, exc, kind, depth) or _new_failure(request, exc, kind, depth)
    failure.reached = reached
    if not request.started:
        request.failed_at = request.inside
    locate(request)
    for run, record in request.runs.copy().items():  # a thread may schedule more
        if not is_pending(run):
            continue
        if record.on_error_response:
            if not (answered and failure.broke_off):
                continue  # it was attached because of this error: it may still run
            record.on_error_response = False  # it was the error response that broke off
        if isinstance(record.failure, RequestFailure):
            continue
        if was_removed(record):
            record.removed = True
            continue
        task = record()
        record.marked = None if task is None else task_options(task.func).run_on_request_error
        if depth is not None and request.inside > depth:
            record.failure = FailureSummary(failure)
            continue
        record.failure = failure
        if (
            task is not None and record.marked and failure.kind != DISCONNECTED
        ):  # a timeout may yet be answered with a 504
            failure.tasks_to_rerun.append(task)
    return failure


def record_escaped_error(request: RequestState, exc: BaseException) -> RequestFailure | None:
    """Judge an exception that leaves the application. If no response has begun, the server answers with a 500."""
    failure = record_request_error(request, exc, 0)
    if failure is not None and failure.kind == ERROR and request.kind == "http" and request.status is None:
        request.status = 500
    return failure


def _known_failure(
    request: RequestState, exc: BaseException, kind: str, depth: int | None
) -> RequestFailure | None:
    """Return the failure that an exception belongs to. It is reported by the exception that decides the answer.

    That is the last one: if a handler or a middleware raises while it handles another one, the server answers.
    """
    known = [failure for failure in request.failures if _same_error(exc, failure.known)]
    if kind == ERROR:
        cancelled = [failure for failure in known or request.failures if failure.kind == CANCELLED]
        if cancelled:
            # what cancelled the application, or what the cancellation became: a task group's error, a timeout
            failure = cancelled[0]
            failure.supersede(exc)
            failure.kind, failure.logged = kind, False
            return failure
        if not known and _is_silence(exc):
            known = [failure for failure in request.failures if isinstance(failure.exc, CancelledError)]
        elif known and known[0].kind == ERROR and known[0].exc is not exc and not known[0].reported:
            known[0].supersede(exc)
            _note_progress(known[0], request, depth)
    return known[0] if known else None


def _new_failure(request: RequestState, exc: BaseException, kind: str, depth: int | None) -> RequestFailure:
    failure = RequestFailure(exc, kind)
    _note_progress(failure, request, depth)
    for reported in request.reported_inside:
        if _same_error(exc, reported.known):
            failure.reported = failure.inside = True
            failure.logged = reported.logged and exc is reported.exc
    request.failures = (*request.failures, failure)
    return failure


def _note_progress(failure: RequestFailure, request: RequestState, depth: int | None) -> None:
    """Note how far the response had come when the error was raised."""
    failure.before_response = not request.started
    begun = request.started or (depth == 0 and request.status is not None)  # by what lies around the application
    failure.broke_off = begun and not request.complete


# --- it is reported ---------------------------------------------------------------------------------------------


def is_request_error(request: RequestState, failure: RequestFailure) -> bool:
    """Return whether a failure counts as a failed request."""
    status = request.status or request.inner_status
    if failure.kind == DISCONNECTED:
        return False
    if failure.kind == CANCELLED:
        return status is not None and status >= 400
    answered = failure.before_response and not failure.broke_off
    return not (answered and status is not None and status < 400)


def hides_error(request: RequestState, failure: RequestFailure) -> bool:
    """Return whether the user's handler answered an error with a 2xx, so that nobody hears of it.

    A redirect is an answer like any other, and who raises an ``HTTPException`` has chosen its status.
    """
    if request.kind != "http" or failure.kind != ERROR or isinstance(failure.exc, HTTPException):
        return False
    status = request.status or request.inner_status
    if request.failed_at is None or status is None or not 200 <= status < 300:
        return False
    return not any(is_request_error(request, other) for other in request.failures)  # else one report is enough


def is_client_error(status: int | None) -> bool:
    """Return whether a failed request was answered with a 4xx: its client caused the error, and not the code."""
    return status is not None and 400 <= status < 500


def runs_marked_tasks(request: RequestState, failure: RequestFailure) -> bool:
    """Return whether an exception led to the answer, whatever its status. If so, marked tasks run after it.

    It did not if a middleware tried again and the application then answered by itself.
    """
    if is_request_error(request, failure):
        return True
    return request.failed_at is not None and (request.status or request.inner_status) is not None


def report(request: RequestState, failure: RequestFailure) -> None:
    """Tell the observers of a failed request, or of an error that its answer hides; once per error.

    It may have been told in an application mounted inside.
    """
    if failure.reported:
        return
    failure.reported = True
    is_told = is_request_error(request, failure)
    if request.parent is not None and (is_told or failure.kind != CANCELLED):  # else: who cancelled it answers
        request.parent.reported_inside = (*request.parent.reported_inside, failure)
    if not is_told and not hides_error(request, failure):
        return
    locate(request)
    known = request.info
    known.status = status = request.status or request.inner_status
    info = RequestInfo(known.method, known.route, known.request_id, status, failure.trace_id, failure.span_id)
    if info.route is None and request.scope is not None:
        info._came = path_and_client(request.scope)
    info.client_error = is_client_error(status)
    info.dropped = _drops_tasks(request, failure)
    if request.scope is not None and any(map(quotes_input, failure.known)):
        request.instrumentation.failsafe("reading parameters", learn_parameters, request.scope)
    ledger = request.instrumentation.ledger
    if is_told:
        ledger.request_failed(info, failure.exc)
        failure.logged = info._logged
    else:
        ledger.error_answered(info, failure.exc)


def _drops_tasks(request: RequestState, failure: RequestFailure) -> bool:
    """Return whether a failure kept tasks from running, even on the error path or on the error response."""
    return failure.dropped or any(
        record.failure is failure
        and not record.on_error_response
        and not any(record() is task for task in failure.tasks_to_rerun)
        for record in list(request.runs.values())
    )
