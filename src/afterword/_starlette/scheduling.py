"""The birth of a task: every one is a ``BackgroundTask`` constructed in an instrumented application's request."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from starlette.background import BackgroundTask, BackgroundTasks

from .._common.model import TaskRun
from .._ledger.deferred import BatchRecord, TaskRecord, recall_task, remember_batch, remember_task
from .._ledger.runs import telling
from .state import RequestScope, current

Birth = tuple[TaskRun, TaskRecord]
"""A run and the record of the task it belongs to."""

_adding: ContextVar[BatchRecord | None] = ContextVar("afterword_adding", default=None)


def add_to(batch: BatchRecord, add_task: Callable[..., None], /, *args: Any, **kwargs: Any) -> None:
    """Call ``add_task``: a task that is born meanwhile belongs to the batch and its request."""
    token = _adding.set(batch)
    try:
        add_task(*args, **kwargs)
    finally:
        _adding.reset(token)


def is_container(task: Any) -> bool:
    """Return whether a task only calls another one: ``add_task(response.background)``, the merge recipe."""
    return isinstance(getattr(task, "func", None), BackgroundTask)


def is_observable(task: Any) -> bool:
    """Return whether a task object is run by Starlette's own ``__call__``, where we can see it."""
    cls = type(task)
    if cls is not BackgroundTask and (
        not isinstance(task, BackgroundTask)
        or isinstance(task, BackgroundTasks)
        or cls.__call__ is not BackgroundTask.__call__
    ):
        return False
    return not is_container(task)


def task_born(task: Any) -> None:
    """Open the account of a task that was just constructed, where it belongs to one."""
    batch = _adding.get()
    scope = batch.scope if batch is not None else current()
    if scope is None or scope.account.closed or telling():
        return
    if is_observable(task):
        record = remember_task(task, scope, batch)
        record.run = scope.schedule(record, task.func, is_async=bool(task.is_async))
    elif not isinstance(task, BackgroundTasks) and not is_container(task):
        # a subclass with a __call__ of its own makes a run each time it calls super()
        remember_task(task, scope, batch)


def batch_born(batch: Any, injected: bool) -> None:
    """Remember the request of a ``BackgroundTasks``, for an ``add_task`` from a thread that knows of none."""
    scope = current()
    if scope is None or scope.account.closed or telling():
        return
    record = remember_batch(batch, scope, injected=injected)
    for member in map(recall_task, batch.tasks):
        if member is not None and member.batch is None:
            member.batch = record  # it was born by itself


def fresh_run(task: Any, record: TaskRecord | None, caller: RequestScope | None) -> Birth | None:
    """Open a run at call time: for a task that is called again, or that was born out of sight."""
    scope = caller if caller is not None else (record.scope if record is not None else None)
    if scope is None or scope.account.closed or telling():
        return None
    seen = TaskRecord.of(task, scope, record.batch if record is not None else None)
    return scope.schedule(seen, task.func, is_async=bool(task.is_async)), seen
