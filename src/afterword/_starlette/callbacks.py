"""The user's own functions, called because a task or a request failed: as tasks of the request, in its context."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel
from starlette.background import BackgroundTask

from .._common.faults import EXITS
from .._ledger.deferred import recall_task
from . import batch as batches
from . import state as request
from . import unstarted as verdict

if TYPE_CHECKING:
    from .._common.model import TaskRun
    from .._ledger.deferred import TaskRecord
    from .state import RequestScope

_MOST_WAITING: Final = 32  # failed tasks whose alert waits for a response


async def task_failed(
    run: TaskRun, record: TaskRecord, caller: RequestScope | None, exc: BaseException | None
) -> None:
    """Call ``on_task_failure``: at once, but not before the response to the request has gone out.

    A task that an endpoint awaits itself must not delay the answer; only so many wait for it, with what they hold.
    """
    if record.quiet or not record.scope.account.settings.on_task_failure:
        return
    if caller is None or caller.kind != "http" or caller.answering or caller.settled:
        await _tell(run, record, exc)
        return
    caller.alerts = (*caller.alerts, (run, record, exc))
    if len(caller.alerts) > _MOST_WAITING:
        await tell_waiting(caller)


async def tell_waiting(scope: RequestScope) -> None:
    """Call ``on_task_failure`` for the tasks that failed before the response to their request had gone out."""
    while scope.alerts:
        first, *later = scope.alerts
        scope.alerts = tuple(later)
        await _tell(*first)


async def _tell(run: TaskRun, record: TaskRecord, exc: BaseException | None) -> None:
    await run_quietly(record.scope, record.scope.account.settings.on_task_failure, run, exc)


async def run_quietly(scope: RequestScope, functions: tuple[Callable[..., Any], ...], *args: Any) -> None:
    """Run functions of the user's as tasks of a request; their failures raise no alert."""
    token = request.enter(scope)
    try:
        tasks = [BackgroundTask(function, *args) for function in functions]
    finally:
        request.leave(token)
    for record in map(recall_task, tasks):
        if record is not None:
            record.quiet = True
    await run_each(scope, tasks)


async def run_each(scope: RequestScope, tasks: list[BackgroundTask]) -> None:
    """Run tasks of a request one by one; an error of one is accounted for, and goes no further.

    They run in the request's context: in no batch, in no failed task's span, and not outside the request's own.
    """
    before = scope.task_failed, scope.task_logged
    token = request.enter(scope)
    plan = batches.enter(None)
    span = otel.attach(scope.around) if scope.around is not None else None
    try:
        for task in tasks:
            try:
                await task()
            except (GeneratorExit, *EXITS):
                raise
            except BaseException as exc:  # its run has failed, and says so
                if verdict.is_cancellation(exc):
                    raise
    finally:
        if request.take_back(scope, token):  # else it is destroyed in another context
            batches.leave(plan)
            if span is not None:
                otel.detach(span)
    scope.task_failed, scope.task_logged = before  # what the application raises next is not their doing
