"""The user's callbacks for failed tasks and requests. They run as tasks of the request, in its context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from opentelemetry import context as otel
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from .._common.faults import EXITS
from .._common.model import Outcome, Reason, TaskRun
from .._ledger.deferred import defer
from .batch import enter_batch, leave_batch
from .request_errors import is_cancellation, is_error, is_request_error, report, runs_marked_tasks
from .state import (
    RequestFailure,
    RequestState,
    TaskRecord,
    enter_request,
    find_task,
    leave_destroyed_request,
    leave_request,
)
from .unstarted import settle_rest, why_skipped

RequestErrorCallback: TypeAlias = Callable[[HTTPConnection, BaseException], object]
"""A function for ``on_request_error``, sync or async: ``function(request, exc)``.

``request`` is the ``Request``, or the ``HTTPConnection`` of a WebSocket. ``exc`` is the exception that ended it,
including the cancellation by a timeout.
"""

_MOST_WAITING: Final = 32  # at most: failed tasks whose callback waits for a response


async def task_failed(
    run: TaskRun, record: TaskRecord, caller: RequestState | None, exc: BaseException | None
) -> None:
    """Call ``on_task_failure``: at once, but not before the response has been sent.

    A task that an endpoint awaits itself must not delay the response. A bounded number of tasks wait for it.
    """
    if record.no_alert or not record.request.instrumentation.settings.on_task_failure:
        return
    if caller is None or caller.kind != "http" or caller.settled or _is_answering(caller):
        await _tell(run, record, exc)
        return
    caller.alerts = (*caller.alerts, (run, record, exc))
    if len(caller.alerts) > _MOST_WAITING:
        await tell_waiting(caller)


def _is_answering(request: RequestState) -> bool:
    """Return whether a response has begun, the application's or that of a middleware."""
    return request.started or request.status is not None


async def tell_waiting(request: RequestState) -> None:
    """Call ``on_task_failure`` for the tasks that failed before the response was sent."""
    while request.alerts:
        first, *later = request.alerts
        request.alerts = tuple(later)
        await _tell(*first)


async def _tell(run: TaskRun, record: TaskRecord, exc: BaseException | None) -> None:
    await run_quietly(record.request, record.request.instrumentation.settings.on_task_failure, run, exc)


async def run_quietly(request: RequestState, functions: tuple[Callable[..., object], ...], *args: Any) -> None:
    """Run callbacks as tasks of a request. Their own failures call no callback."""
    token = enter_request(request)
    try:
        tasks = [BackgroundTask(function, *args) for function in functions]
    finally:
        leave_request(token)
    records = [record for record in map(find_task, map(id, tasks)) if record is not None]
    for record in records:
        record.no_alert = True
    try:
        await run_each(request, tasks)
    except BaseException as exc:  # it was cancelled, destroyed, or ends the process
        defer(_skip, records, *why_skipped(None, exc))
        raise


def _skip(records: list[TaskRecord], reason: Reason, detail: str) -> None:
    """Skip the callbacks that have not started."""
    for record in records:
        if record.run is not None:
            record.request.instrumentation.ledger.end_unstarted(record.run, Outcome.SKIPPED, reason, detail)
            record.request.runs.pop(record.run, None)


async def run_each(request: RequestState, tasks: list[BackgroundTask]) -> None:
    """Run tasks of a request one by one. If one fails, its run says so and the next one runs.

    They run in the request's context and span, outside of any batch and of the failed task's span.
    """
    before = request.task_failed, request.task_told
    token = enter_request(request)
    batch = enter_batch(None)
    span = otel.attach(request.around) if request.around is not None else None
    try:
        for task in tasks:
            try:
                await task()
            except (GeneratorExit, *EXITS):
                raise
            except BaseException as exc:  # its run has recorded the failure
                if is_cancellation(exc):
                    raise
    finally:
        if leave_destroyed_request(request, token):  # otherwise it is being destroyed in another context
            leave_batch(batch)
            if span is not None:
                otel.detach(span)
    request.task_failed, request.task_told = before  # they do not cause what the application raises next


# --- the end of a request --------------------------------------------------------------------------------------


async def finish(request: RequestState) -> None:
    """At the end of a request, do what no response has done: report errors, run error tasks and callbacks."""
    for failure in list(request.failures):
        request.instrumentation.failsafe("reporting an error", report, request, failure)
        await run_error_tasks(request, failure, None)
    await tell_waiting(request)


async def run_error_tasks(
    request: RequestState, failure: RequestFailure | None, connection: HTTPConnection | None
) -> None:
    """Run the tasks that run on a request error; if the request failed, then ``on_request_error``, once."""
    if failure is None or not runs_marked_tasks(request, failure):
        return
    tasks, failure.tasks_to_rerun = failure.tasks_to_rerun, []
    if tasks:
        await run_each(request, tasks)
    if failure.answered or not is_request_error(request, failure):
        return
    failure.answered = True
    handlers = request.instrumentation.settings.on_request_error
    if handlers and request.scope is not None and not failure.inside:
        await run_quietly(request, handlers, connection or _connection(request.scope), failure.exc)


def _connection(scope: Scope) -> HTTPConnection:
    return Request(scope) if scope["type"] == "http" else HTTPConnection(scope)


async def end_late(request: RequestState, exc: BaseException | None = None) -> None:
    """End a request whose endpoint a middleware has let go on, as a timeout does that shields it."""
    if request.over:
        try:
            if exc is None or is_error(exc):
                await finish(request)
        finally:
            request.instrumentation.failsafe("settling a request", settle_rest, request)
