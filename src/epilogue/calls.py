"""One call of a task: begun, timed, ended. The user's function runs as it would without us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import FunctionType
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTask

from . import batches, request, verdict
from .births import Birth, fresh_run, is_observable
from .ledger import is_pending, log_fault
from .lifetimes import defer, drain, recall_task
from .model import Outcome, Reason, TaskRun
from .probe import Probe

if TYPE_CHECKING:
    from .account import Account
    from .lifetimes import TaskRecord
    from .request import RequestScope

Original = Callable[[Any], Awaitable[None]]

_current_run: ContextVar[TaskRun | None] = ContextVar("epilogue_run", default=None)

current_run = _current_run.get


class _Call(Probe):
    """One call of one task, from its begin to its end."""

    def __init__(self, task: Any, run: TaskRun, record: TaskRecord, caller: RequestScope | None) -> None:
        super().__init__(task)
        self.run = run
        self.record = record
        self.caller = caller
        self.behind_response = caller is not None and caller.complete
        self.plan = batches.current_plan()
        self.ledger = record.scope.account.ledger

    def begin(self) -> None:
        if self.behind_response and self.caller is not None:
            self.caller.background_ran = True
        self.record.doom = None
        self.ledger.start(self.run)
        self.token = _current_run.set(self.run)

    def succeeded(self) -> None:
        self.note_times(self.run)
        if self.unrun is None:
            self._finish(Outcome.SUCCEEDED)
        else:
            self._finish(Outcome.FAILED, Reason.NEVER_AWAITED, self.unrun)

    def raised(self, exc: BaseException) -> None:
        self.note_times(self.run)
        if verdict.is_cancellation(exc):
            self._finish(Outcome.CANCELLED, Reason.CANCELLED, "it was cancelled while it ran", exc)
        else:
            self._finish(Outcome.FAILED, Reason.EXCEPTION, "it raised; see the traceback", exc)
        batches.note_failure(self.plan, self.run, self.record)
        if self.behind_response and self.caller is not None:
            self.caller.task_failed = True

    def torn_down(self) -> None:
        """End a run whose coroutine was destroyed; called later, from a drain."""
        self.run.torn_down = True
        self.note_times(self.run)
        batches.note_failure(self.plan, self.run, self.record)
        self._finish(Outcome.CANCELLED, Reason.CANCELLED, "its coroutine was destroyed while it ran")

    def _finish(self, outcome: Outcome, *why: Any) -> None:
        self.release()
        self.ledger.finish(self.run, outcome, *why)
        self.record.scope.release(self.run)


def concerns(task: Any) -> bool:
    """Return whether a call may be part of an account: it is none of ours in a process's other applications."""
    return request.current() is not None or recall_task(task) is not None or batches.current_plan() is not None


async def run_task(task: Any, original: Original, choose: Callable[[Account], Original]) -> None:
    """Call a task and account for it; ``choose`` may pick another original where our span is opened."""
    call = None if isinstance(task, Probe) else _begin(task)
    if call is None:
        await original(task)
        return
    account = call.record.scope.account
    chosen = choose(account)
    # a proxy of Starlette's own says the same module
    by_others = type(chosen) is not FunctionType or chosen.__module__ != BackgroundTask.__module__
    call.watch(task, named=by_others)
    try:
        await chosen(call)
    except GeneratorExit:
        # The coroutine is being destroyed, perhaps by the garbage collector inside somebody's lock: only queue.
        call.ledger.tear_down(call.run)
        defer(call.torn_down)
        raise
    except BaseException as exc:
        account.guard("ending a task", call.raised, exc)
        _current_run.reset(call.token)
        drain()
        if call.run.outcome is Outcome.FAILED:
            await _alert(call, exc)
        raise
    account.guard("ending a task", call.succeeded)
    _current_run.reset(call.token)
    drain()
    if call.unrun is not None:
        await _alert(call, None)


def _begin(task: Any) -> _Call | None:
    """Begin the run of a task; ``None`` if it has none, or if a fault of ours kept us from it."""
    caller = request.current()
    try:
        opened = _open(task, caller)
        if opened is None:
            return None
        call = _Call(task, *opened, caller)
        call.begin()
    except Exception as fault:  # noqa: BLE001
        if caller is None:
            log_fault("beginning a task", fault)
        else:
            caller.account.ledger.fault("epilogue", "beginning a task", fault)
        return None
    return call


def _open(task: Any, caller: RequestScope | None) -> Birth | None:
    """Find the run that a call belongs to: the one it was planned for, the one it was born with, or a new one."""
    plan = batches.current_plan()
    planned = batches.take(plan, task) if plan is not None else None
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


async def _alert(call: _Call, exc: BaseException | None) -> None:
    """Call the user's ``on_task_failure``: at once behind a response, else when the response has gone out."""
    record, caller = call.record, call.caller
    if record.quiet or not record.scope.account.settings.on_task_failure:
        return
    if caller is not None and caller.kind == "http" and not caller.complete and not caller.settled:
        caller.alerts.append((call.run, record, exc))
    else:
        await alert(call.run, record, exc)


async def alert(run: TaskRun, record: TaskRecord, exc: BaseException | None) -> None:
    """Run every ``on_task_failure`` as a task of the failed run's request; their own failures end with them."""
    await run_quietly(record.scope, record.scope.account.settings.on_task_failure, run, exc)


async def run_quietly(scope: RequestScope, functions: tuple[Callable[..., Any], ...], *args: Any) -> None:
    """Run functions of the user's as tasks of a request; their failures raise no alert."""
    token = request.enter(scope)
    try:
        tasks = [BackgroundTask(function, *args) for function in functions]
        for record in map(recall_task, tasks):
            if record is not None:
                record.quiet = True
        await run_each(scope, tasks)
    finally:
        request.leave(token)


async def run_each(scope: RequestScope, tasks: list[BackgroundTask]) -> None:
    """Run tasks of a request one by one; an error of one is accounted for, and goes no further."""
    task_failed = scope.task_failed
    for task in tasks:
        try:
            await task()
        except Exception:  # noqa: BLE001, S112  its run has failed, and says so
            continue
    scope.task_failed = task_failed  # what the application raises next is not their doing
