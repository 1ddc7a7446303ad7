"""Opens the run of a task when it is created. Every task is a ``BackgroundTask`` created in a request."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from starlette.background import BackgroundTask, BackgroundTasks

from .._common.model import TaskRun
from .._common.task_names import identify
from .._ledger.deferred import sweeper
from .._ledger.runs import inside_observer
from .http_route import locate
from .state import (
    BatchRecord,
    RequestState,
    TaskRecord,
    current_request,
    find_task,
    remember_batch,
    remember_task,
    task_record,
)
from .unstarted import on_task_collected

OpenRun = tuple[TaskRun, TaskRecord]
"""A run and the record of the task it belongs to."""

_adding: ContextVar[BatchRecord | None] = ContextVar("afterword_adding", default=None)


def add_to(batch: BatchRecord, add_task: Callable[..., None], /, *args: Any, **kwargs: Any) -> None:
    """Call ``add_task``. A task that is created meanwhile belongs to the batch and its request."""
    token = _adding.set(batch)
    try:
        add_task(*args, **kwargs)
    finally:
        _adding.reset(token)


def is_container(task: object) -> bool:
    """Return whether a task only calls another one: ``add_task(response.background)``, a way to merge batches."""
    return isinstance(getattr(task, "func", None), BackgroundTask)


def is_observable(task: object) -> bool:
    """Return whether a task object is run by Starlette's own ``__call__``, which we hook."""
    cls = type(task)
    if cls is not BackgroundTask and (
        not isinstance(task, BackgroundTask)
        or isinstance(task, BackgroundTasks)
        or cls.__call__ is not BackgroundTask.__call__
    ):
        return False
    return not is_container(task)


def on_task_created(task: BackgroundTask) -> None:
    """Open a run for a task that was just created, if it belongs to a tracked request."""
    batch = _adding.get()
    request = batch.request if batch is not None else current_request()
    if request is None or request.instrumentation.closed or inside_observer():
        return
    if is_observable(task):
        record = task_record(task, request, batch, on_task_collected)
        remember_task(record)
        record.run = _open_run(request, record, task)
    elif not isinstance(task, BackgroundTasks) and not is_container(task):
        # a subclass with its own __call__ opens a run each time it calls super()
        remember_task(task_record(task, request, batch, on_task_collected))


def on_batch_created(batch: BackgroundTasks, injected: bool) -> None:
    """Remember the request of a ``BackgroundTasks``, for ``add_task`` in a thread without a request."""
    request = current_request()
    if request is None or request.instrumentation.closed or inside_observer():
        return
    record = remember_batch(batch, request, injected=injected)
    for member in map(find_task, batch.tasks):
        if member is not None and member.batch is None:
            member.batch = record  # it was created separately


def open_run_at_call(
    task: BackgroundTask, record: TaskRecord | None, caller: RequestState | None
) -> OpenRun | None:
    """Open a run when a task is called: one that is called again, or whose creation was not observed."""
    request = caller if caller is not None else (record.request if record is not None else None)
    if request is None or request.instrumentation.closed or inside_observer():
        return None
    batch = record.batch if record is not None else None
    of_this_call = task_record(task, request, batch, on_task_collected)
    return _open_run(request, of_this_call, task), of_this_call


def _open_run(request: RequestState, record: TaskRecord, task: BackgroundTask) -> TaskRun:
    info = request.info
    if info.route is None:
        locate(request)
    name, function = identify(task.func)
    run = TaskRun(name, function, info, next(request.indexes), is_async=bool(task.is_async))
    if not request.over:
        request.runs[run] = record
    if not sweeper.started:
        sweeper.start()
    ledger = request.instrumentation.ledger
    if request.around is None:
        ledger.schedule(run)
    else:
        run._around = request.around
        ledger.schedule(run)
        run._around = None  # whatever keeps the run must not keep the application's values in it
    return run
