"""One call of a task: begun, timed, ended. The user's function runs as it would without us."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTask

from . import batches, request, verdict
from .births import Birth, fresh_run, is_observable
from .ledger import is_pending
from .lifetimes import defer, drain, recall_task
from .model import Outcome, Reason, TaskRun
from .names import unwrap

if TYPE_CHECKING:
    from .batches import Plan
    from .lifetimes import TaskRecord
    from .request import RequestScope

Original = Callable[[Any], Awaitable[None]]

_current_run: ContextVar[TaskRun | None] = ContextVar("epilogue_run", default=None)

current_run = _current_run.get


class _Shadow(BackgroundTask):
    """A stand-in that the original ``__call__`` is given, so that the user's task is never changed.

    A module-level task may be called by many requests at once; swapping its function would be seen by all.
    """

    def __init__(self, task: Any, probe: _Probe) -> None:
        self.__dict__.update(task.__dict__)
        self.func = probe.in_thread if not task.is_async else probe.on_loop


class _Probe:
    """Stands around the user's function: reads the clock in the worker thread, looks at what is returned."""

    __slots__ = ("began", "finished", "func", "unrun")

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.began: float | None = None
        self.finished: float | None = None
        self.unrun: str | None = None
        """What is wrong with the value that was returned, if nobody will run it."""

    def in_thread(self, *args: Any, **kwargs: Any) -> Any:
        self.began = perf_counter()
        try:
            result = self.func(*args, **kwargs)
        finally:
            self.finished = perf_counter()
        if result is not None and _will_never_run(result, self.func):
            self.unrun = verdict.never_awaited(result)
        return result

    async def on_loop(self, *args: Any, **kwargs: Any) -> Any:
        result = await self.func(*args, **kwargs)
        if result is not None and _will_never_run(result, self.func):
            self.unrun = verdict.never_awaited(result)
        return result

    def note_times(self, run: TaskRun) -> None:
        """Split a sync task's time into the wait for a thread and the running."""
        if run.is_async:
            return
        now = perf_counter()
        began = self.began if self.began is not None else now
        run.thread_wait = began - run._started_tick
        run.duration = (self.finished if self.finished is not None else now) - began


def _will_never_run(result: Any, func: Any) -> bool:
    """Return whether a value is work that has not begun and that nobody can begin any more.

    A coroutine is; so is the function's own generator, but not one that it merely returns: ``pool.map`` has done
    its work by then.
    """
    if inspect.iscoroutine(result):
        return inspect.getcoroutinestate(result) == inspect.CORO_CREATED
    code = getattr(unwrap(getattr(func, "__func__", func)), "__code__", None)
    if inspect.isgenerator(result):
        return result.gi_code is code and inspect.getgeneratorstate(result) == inspect.GEN_CREATED
    if inspect.isasyncgen(result):
        return result.ag_code is code
    return False


async def run_task(task: Any, original: Original, *, enter: Callable[[Any], Original] | None = None) -> None:
    """Call a task through ``original`` and account for it; ``enter`` may choose another original for our runs."""
    caller = request.current()
    opened = None if isinstance(task, _Shadow) else _open(task, caller)
    if opened is None:
        await original(task)
        return
    run, record = opened
    ledger = record.scope.account.ledger
    behind_response = caller is not None and caller.complete
    if behind_response and caller is not None:
        caller.background_ran = True
    plan = batches.current_plan()
    probe = _Probe(task.func)
    token = _current_run.set(run)
    ledger.start(run)
    try:
        await (original if enter is None else enter(record.scope.account))(_Shadow(task, probe))
    except GeneratorExit:
        # The coroutine is being destroyed, perhaps by the garbage collector inside somebody's lock: only queue.
        defer(_torn_down, run, record, probe, plan)
        raise
    except BaseException as exc:
        _close_failed(run, record, probe, plan, exc)
        _current_run.reset(token)
        if behind_response and caller is not None:
            caller.task_failed = True
        if run.outcome is Outcome.FAILED:
            await _alert(run, record, caller, exc)
        raise
    probe.note_times(run)
    if probe.unrun is None:
        ledger.finish(run, Outcome.SUCCEEDED)
    else:
        ledger.finish(run, Outcome.FAILED, Reason.NEVER_AWAITED, probe.unrun)
    _current_run.reset(token)
    record.scope.release(run)
    drain()
    if probe.unrun is not None:
        await _alert(run, record, caller, None)


def _open(task: Any, caller: RequestScope | None) -> Birth | None:
    """Find the run that a call belongs to: the one it was planned for, the one it was born with, or a new one."""
    planned = batches.take(task)
    if planned is not None:
        return planned
    record = recall_task(task)
    if record is not None and record.run is not None and is_pending(record.run):
        return record.run, record
    if not isinstance(task, BackgroundTask) or not hasattr(task, "func"):
        return None
    if record is None and caller is None:
        return None
    if not is_observable(task) and isinstance(task.func, BackgroundTask):
        return None
    return fresh_run(task, record, caller)


def _close_failed(run: TaskRun, record: TaskRecord, probe: _Probe, plan: Plan | None, exc: BaseException) -> None:
    probe.note_times(run)
    ledger = record.scope.account.ledger
    if verdict.is_cancellation(exc):
        ledger.finish(run, Outcome.CANCELLED, Reason.CANCELLED, "it was cancelled while it ran", exc)
    else:
        ledger.finish(run, Outcome.FAILED, Reason.EXCEPTION, "it raised; see the traceback", exc)
    batches.note_failure(plan, run, record)
    record.scope.release(run)
    drain()


def _torn_down(run: TaskRun, record: TaskRecord, probe: _Probe, plan: Plan | None) -> None:
    run.torn_down = True
    probe.note_times(run)
    record.scope.account.ledger.finish(
        run, Outcome.CANCELLED, Reason.CANCELLED, "its coroutine was destroyed while it ran"
    )
    batches.note_failure(plan, run, record)
    record.scope.release(run)


async def _alert(run: TaskRun, record: TaskRecord, caller: RequestScope | None, exc: BaseException | None) -> None:
    """Call the user's ``on_task_failure``: at once behind a response, else when the response has gone out."""
    if record.quiet or not record.scope.account.settings.on_task_failure:
        return
    if caller is not None and caller.kind == "http" and not caller.complete and not caller.settled:
        caller.alerts.append((run, record, exc))
    else:
        await alert(run, record, exc)


async def alert(run: TaskRun, record: TaskRecord, exc: BaseException | None) -> None:
    """Run every ``on_task_failure`` as a task of the failed run's request; their own failures end with them."""
    await run_quietly(record.scope, record.scope.account.settings.on_task_failure, run, exc)


async def run_quietly(scope: RequestScope, functions: tuple[Callable[..., Any], ...], *args: Any) -> None:
    """Run functions of the user's as tasks of a request: accounted for, but an error of one goes no further."""
    token = request.enter(scope)
    try:
        for function in functions:
            task = BackgroundTask(function, *args)
            record = recall_task(task)
            if record is not None:
                record.quiet = True
            try:
                await task()
            except Exception:  # noqa: BLE001, S112  its run has failed, and says so
                continue
    finally:
        request.leave(token)
