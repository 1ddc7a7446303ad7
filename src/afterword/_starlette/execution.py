"""One call of a task: begun, timed, ended. The user's function runs as it would without us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, Token
from types import FunctionType
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTask

from .._common import foreign
from .._common.contexts import take_back
from .._common.faults import EXITS, log_fault
from .._common.model import Outcome, Reason, TaskRun
from .._ledger.deferred import defer, drain, none_died, recall_task
from .._ledger.runs import is_pending, unended
from . import batch as batches
from . import callbacks as alerts
from . import state as request
from . import unstarted as verdict
from .scheduling import Birth, fresh_run, is_observable
from .task_proxy import Probe

if TYPE_CHECKING:
    from .._ledger.deferred import TaskRecord
    from .._ledger.instrumentation import Account
    from .batch import Plan
    from .patching import Patch
    from .state import RequestScope

Original = Callable[[Any], Awaitable[None]]

_current_run: ContextVar[TaskRun | None] = ContextVar("afterword_run", default=None)

current_run = _current_run.get


def run_in(context: Context) -> TaskRun | None:
    """Return the run that the code of a context is in."""
    return context.get(_current_run)


class _Call(Probe):
    """One call of one task, from its begin to its end."""

    token: Token[TaskRun | None]

    def __init__(
        self, task: Any, run: TaskRun, record: TaskRecord, caller: RequestScope | None, plan: Plan | None
    ) -> None:
        Probe.__init__(self, task)
        self.run = run
        self.record = record
        self.caller = caller
        self.plan = plan
        self.behind_response = caller is not None and caller.complete
        self.ledger = record.scope.account.ledger

    def begin(self) -> None:
        """Start the run."""
        if self.behind_response and self.caller is not None:
            self.caller.background_ran = True
        if self.record.doom is not None:
            self.record.doom = None
        try:
            self.ledger.start(self.run)
        finally:
            self.token = _current_run.set(self.run)

    def succeeded(self) -> None:
        """End the run of a function that returned."""
        swallowed = foreign.swallowed(self.user_func) if foreign.swallowing else None
        if self.unrun is not None:
            self._finish(Outcome.FAILED, Reason.NEVER_AWAITED, self.unrun)
        elif swallowed is not None:
            self._finish(Outcome.FAILED, Reason.EXCEPTION, swallowed)
        else:
            self._finish(Outcome.SUCCEEDED)

    def raised(self, exc: BaseException) -> None:
        """End the run of a function that raised."""
        if verdict.is_cancellation(exc):
            self._finish(Outcome.CANCELLED, Reason.CANCELLED, "it was cancelled while it ran", exc)
        else:
            self._finish(Outcome.FAILED, Reason.EXCEPTION, "it raised; see the traceback", exc)
        batches.note_failure(self.plan, self.run, self.record)
        if self.behind_response and self.caller is not None:
            self.caller.task_failed = True
            self.caller.task_logged = self.run._logged

    def tear_down(self) -> None:
        """Leave a run whose coroutine is being destroyed, perhaps by the collector inside somebody's lock."""
        self.run.torn_down = not take_back(_current_run, self.run, self.token)
        self.ledger.tear_down(self.run)
        defer(self._torn_down)  # only queued

    def _torn_down(self) -> None:
        self.run.torn_down = True
        batches.note_failure(self.plan, self.run, self.record)
        detail = "it was torn down while it ran: its coroutine was destroyed, or it raised GeneratorExit itself"
        self._finish(Outcome.CANCELLED, Reason.CANCELLED, detail)

    def _finish(self, outcome: Outcome, *why: Any) -> None:
        if not self.is_async:
            self.note_times(self.run)
        if self.resembling:
            self.release()
        self.ledger.finish(self.run, outcome, *why)
        self.record.scope.release(self.run)


class _CallOnLoop(_Call):
    func = Probe.on_loop


class _CallInThread(_Call):
    func = Probe.in_thread


def accounting(patch: Patch, original: Original, choose: Callable[[Account], Original]) -> Original:
    """Return a ``__call__`` that accounts for each call of a task, and calls ``original`` on a stand-in.

    ``choose`` may pick another original where our span is opened. Tasks of a process's other applications are none
    of ours, nor are stand-ins that another tool's patch hands back to us.
    """
    starlettes_own = _is_starlettes(original)

    async def __call__(self: Any) -> None:
        call = None
        if patch.hook is hook or unended():
            caller, plan = request.current(), batches.current_plan()
            if caller is not None or plan is not None or recall_task(self) is not None:
                call = _begin(self, caller, plan)
        if call is None:
            await original(self)
            return
        chosen = original if starlettes_own else _prepared(call, self, original, choose)
        try:
            await chosen(call)
        except GeneratorExit:
            call.tear_down()
            raise
        except BaseException as exc:
            _end(call, call.raised, exc)
            if call.run.outcome is Outcome.FAILED:
                await alerts.task_failed(call.run, call.record, call.caller, exc)
            raise
        _end(call, call.succeeded)
        if call.run.outcome is Outcome.FAILED:
            await alerts.task_failed(call.run, call.record, call.caller, None)

    hook = __call__
    return hook


def _prepared(call: _Call, task: Any, original: Original, choose: Callable[[Account], Original]) -> Original:
    """Return what to call the stand-in by, where another tool has patched Starlette beneath us."""
    account = call.record.scope.account
    chosen: Original = account.guard("going past another patch", choose, account) or original
    if not _is_starlettes(chosen):
        account.guard("standing in for a task", call.resemble, task)
    return chosen


def _is_starlettes(function: Any) -> bool:
    # a proxy of Starlette's own says the same module
    return type(function) is FunctionType and function.__module__ == BackgroundTask.__module__


def _end(call: _Call, end: Callable[..., None], *args: Any) -> None:
    """End a run, in the context it began in; a fault of ours is counted, and does not reach the task's caller."""
    try:
        end(*args)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        call.ledger.fault("afterword", "ending a task", fault)
    finally:
        _current_run.reset(call.token)
    if not none_died():
        drain()


def _begin(task: Any, caller: RequestScope | None, plan: Plan | None) -> _Call | None:
    """Begin the run of a task; ``None`` if it has none, or if a fault of ours kept us from it."""
    if isinstance(task, Probe):
        return None
    try:
        opened = _open(task, caller, plan)
        if opened is None:
            return None
        call = (_CallOnLoop if task.is_async else _CallInThread)(task, *opened, caller, plan)
        try:
            call.begin()
        except EXITS as exc:
            _end(call, call.raised, exc)
            raise
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        if caller is None:
            log_fault("beginning a task", fault)
        else:
            caller.account.ledger.fault("afterword", "beginning a task", fault)
        return None
    return call


def _open(task: Any, caller: RequestScope | None, plan: Plan | None) -> Birth | None:
    """Find the run that a call belongs to: the one it was planned for, the one it was born with, or a new one."""
    if plan is not None and (plan.births or plan.outer is not None):
        planned = batches.take(plan, task)
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
