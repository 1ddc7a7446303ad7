"""Opens the run of a task when it is created. Every task is a ``BackgroundTask`` created in a request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import FunctionType
from typing import Any, Final

import fastapi
from starlette.background import BackgroundTask, BackgroundTasks

from .._common.faults import EXITS
from .._common.model import TaskRun
from .._common.task_names import identify
from .._ledger.deferred import sweeper
from .._ledger.runs import inside_observer
from .http_route import locate
from .patching import Function, MethodPatch
from .state import (
    BatchRecord,
    RequestState,
    TaskRecord,
    current_request,
    find_batch,
    find_task,
    members_of,
    remember_batch,
    task_record,
)
from .unstarted import on_task_collected

OpenRun = tuple[TaskRun, TaskRecord]
"""A run and the record of the task it belongs to."""

_PLAIN_BATCHES: Final = (fastapi.BackgroundTasks, BackgroundTasks)
_MAX_DEPTH: Final = 10
_adding: ContextVar[BatchRecord | None] = ContextVar("afterword_adding", default=None)


# --- the hooks --------------------------------------------------------------------------------------------------


def creating(patch: MethodPatch, original: Function) -> Function:
    """Return an ``__init__`` of a task that opens its run."""

    def __init__(self: BackgroundTask, /, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        batch = _adding.get()
        request = batch.request if batch is not None else current_request()
        if request is None or patch.hook is not hook or request.instrumentation.closed or inside_observer():
            return
        try:
            if (type(self) is BackgroundTask and type(self.func) is FunctionType) or is_observable(self):
                record = task_record(self, request, batch, on_task_collected, found=True)
                record.run = _open_run(request, record, self)
            elif not isinstance(self, BackgroundTasks) and not is_container(self):
                # a subclass with its own __call__ opens a run each time it calls super()
                task_record(self, request, batch, on_task_collected, found=True)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            request.instrumentation.record_fault("the creation of a task", fault)

    hook = __init__
    return hook


def creating_batch(patch: MethodPatch, original: Function) -> Function:
    """Return an ``__init__`` of a batch that remembers its request."""

    def __init__(self: BackgroundTasks, /, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        request = current_request()
        if request is None or patch.hook is not hook or request.instrumentation.closed or inside_observer():
            return
        injected = sys._getframe(1).f_globals.get("__name__") == "fastapi.dependencies.utils"
        try:
            record = remember_batch(self, request, injected=injected)
            for task in self.tasks:
                member = find_task(id(task))
                if member is not None and member.batch is None:
                    member.batch = record  # it was created separately
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            request.instrumentation.record_fault("the creation of a batch", fault)

    hook = __init__
    return hook


def adding(patch: MethodPatch, original: Function) -> Function:
    """Return an ``add_task`` whose tasks belong to the batch and its request."""

    def add_task(self: BackgroundTasks, /, *args: Any, **kwargs: Any) -> None:
        batch = find_batch(id(self))
        if batch is None or patch.hook is not hook:
            original(self, *args, **kwargs)
            return
        tasks = getattr(self, "tasks", None)
        if type(self) in _PLAIN_BATCHES and type(tasks) is list and batch.request is current_request():
            original(self, *args, **kwargs)
            added = find_task(id(tasks[-1])) if tasks else None  # another tool may not have added it
            if added is not None and added.batch is None:
                added.batch = batch
        else:  # no or another request's thread, a subclass that may add several, or a list that is none
            token = _adding.set(batch)
            try:
                original(self, *args, **kwargs)
            finally:
                _adding.reset(token)

    hook = add_task
    return hook


# --- tasks and batches ------------------------------------------------------------------------------------------


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
    info = request._info or request.info
    if info.route is None:
        locate(request)
    name, function = identify(task.func)
    run = TaskRun(name, function, info, next(request.indexes), is_async=bool(task.is_async))
    if not request.settled or not request.over:
        request.runs[run] = record
    if not sweeper.started:
        sweeper.start()
    request.instrumentation.ledger.schedule(run, request.around)
    return run


# --- for an endpoint --------------------------------------------------------------------------------------------


def runs(tasks: BackgroundTask) -> list[TaskRun]:
    """Return the runs of what was added to a ``BackgroundTasks`` so far, in order, or of one ``BackgroundTask``.

    Give their ``id`` to a client that is answered before they have ended, so that it can ask the console's API
    later: ``{console}/api/runs/{id}``. Tasks of an application that is not instrumented have no runs.

    Raises:
        TypeError: ``tasks`` is neither.
    """
    if not isinstance(tasks, BackgroundTask):
        raise TypeError(f"tasks: BackgroundTasks or a BackgroundTask is needed, not {tasks!r}")
    return list(_runs(tasks, _MAX_DEPTH))


def _runs(task: object, depth: int) -> Iterator[TaskRun]:
    inner = getattr(task, "func", None)
    if isinstance(inner, BackgroundTask):  # a task that only calls another one
        task = inner
    if isinstance(task, BackgroundTasks):
        for member in members_of(task) if depth else ():
            yield from _runs(member, depth - 1)
        return
    record = find_task(id(task))
    if record is not None and record() is task and record.run is not None:
        yield record.run
