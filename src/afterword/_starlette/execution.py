"""One call of a task: started, timed, ended. The user's function runs as it would without us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import Token
from types import FunctionType
from typing import TypeVarTuple

from starlette.background import BackgroundTask

from .._common import foreign, semconv
from .._common.context import enter_run, leave_destroyed_run, leave_run
from .._common.faults import EXITS
from .._common.log import log_fault
from .._common.model import Outcome, Reason, TaskRun
from .._ledger.deferred import defer, drain, nothing_deferred
from .._ledger.instrumentation import Instrumentation
from .._ledger.runs import has_open_runs, is_pending
from .batch import BatchExecution, claim_planned_run, current_batch, note_failure
from .callbacks import task_failed
from .patching import MethodPatch
from .request_errors import is_cancellation
from .scheduling import OpenRun, is_observable, open_run_at_call
from .state import RequestState, TaskRecord, current_request, find_task
from .task_proxy import TaskProxy

Arguments = TypeVarTuple("Arguments")
Original = Callable[[BackgroundTask], Awaitable[None]]


class TaskExecution(TaskProxy):
    """One call of one task, from start to end."""

    token: Token[TaskRun | None]

    def __init__(
        self,
        task: BackgroundTask,
        run: TaskRun,
        record: TaskRecord,
        caller: RequestState | None,
        batch: BatchExecution | None,
    ) -> None:
        TaskProxy.__init__(self, task)
        self.run = run
        self.record = record
        self.caller = caller
        self.batch = batch
        self.behind_response = caller is not None and caller.complete
        self.ledger = record.request.instrumentation.ledger

    def begin(self) -> None:
        """Start the run."""
        if self.behind_response and self.caller is not None:
            self.caller.background_ran = True
        if self.record.failure is not None:
            self.record.failure = None
        try:
            self.ledger.start(self.run)
        finally:
            self.token = enter_run(self.run)

    def succeeded(self) -> None:
        """End the run of a function that returned."""
        swallowed = foreign.swallowed(self.user_func) if foreign.swallowing else None
        if self.never_awaited is not None:
            self._finish(Outcome.FAILED, Reason.NEVER_AWAITED, self.never_awaited)
        elif swallowed is not None:
            self._finish(Outcome.FAILED, Reason.EXCEPTION, swallowed)
        else:
            self._finish(Outcome.SUCCEEDED)

    def raised(self, exc: BaseException) -> None:
        """End the run of a function that raised."""
        if is_cancellation(exc):
            self._finish(Outcome.CANCELLED, Reason.CANCELLED, self._how_cancelled(), exc)
        else:
            self._finish(Outcome.FAILED, Reason.EXCEPTION, "it raised; see the traceback", exc)
        note_failure(self.batch, self.run, self.record)
        if self.behind_response and self.caller is not None:
            self.caller.task_failed = True
            self.caller.task_told = exc if self.run._logged and not self.caller.settled else None

    def _how_cancelled(self) -> str:
        """Describe how far the function had come. A function in a thread cannot be stopped."""
        if self.is_async:
            return "it was cancelled while it ran"
        if self.began is None:
            return "it was cancelled while it waited for a worker thread; its function never began"
        if self.finished is None:
            return (
                "it was cancelled while its thread ran; the thread goes on to its end, and nobody sees how it ends"
            )
        return "it was cancelled while its thread ran; the thread has come to its end meanwhile"

    def tear_down(self) -> None:
        """Leave a run whose coroutine is being destroyed, perhaps by the collector while a lock is held."""
        self.run.torn_down = not leave_destroyed_run(self.run, self.token)
        self.ledger.tear_down(self.run)
        defer(self._torn_down)  # only queued

    def _torn_down(self) -> None:
        self.run.torn_down = True
        note_failure(self.batch, self.run, self.record)
        detail = "it was torn down while it ran: its coroutine was destroyed, or it raised GeneratorExit itself"
        self._finish(Outcome.CANCELLED, Reason.CANCELLED, detail)

    def _finish(
        self,
        outcome: Outcome,
        reason: Reason | None = None,
        detail: str | None = None,
        exc: BaseException | None = None,
    ) -> None:
        if not self.is_async:
            self.note_times(self.run)
        if self.has_identity:
            self.release()
        self.ledger.finish(self.run, outcome, reason, detail, exc)
        self.record.request.runs.pop(self.run, None)


class _OnLoop(TaskExecution):
    func = TaskProxy.on_loop


class _InThread(TaskExecution):
    func = TaskProxy.in_thread


def accounting(
    patch: MethodPatch, original: Original, choose: Callable[[Instrumentation, Original], Original]
) -> Original:
    """Return a ``__call__`` that accounts for each call of a task, and calls ``original`` on a stand-in.

    ``choose`` may pick another original where our span is opened. Tasks of applications
    that are not instrumented are ignored, as are stand-ins that another tool's patch passes back to us.
    """
    starlettes_own = _is_starlettes(original)

    async def __call__(self: BackgroundTask) -> None:
        call = None
        if patch.hook is hook or has_open_runs():
            caller, batch = current_request(), current_batch()
            if caller is not None or batch is not None or find_task(self) is not None:
                call = _begin(self, caller, batch)
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
                await task_failed(call.run, call.record, call.caller, exc)
            raise
        _end(call, call.succeeded)
        if call.run.outcome is Outcome.FAILED:
            await task_failed(call.run, call.record, call.caller, None)

    hook = __call__
    return hook


def _prepared(
    call: TaskExecution,
    task: BackgroundTask,
    original: Original,
    choose: Callable[[Instrumentation, Original], Original],
) -> Original:
    """Return the method to call on the stand-in if another tool has patched Starlette before us."""
    instrumentation = call.record.request.instrumentation
    failsafe = instrumentation.failsafe
    chosen: Original = failsafe("going past another patch", choose, instrumentation, original) or original
    if not _is_starlettes(chosen):
        failsafe("standing in for a task", call.copy_identity, task)
    return chosen


def _is_starlettes(function: object) -> bool:
    # a proxy of Starlette's own method has the same module
    return type(function) is FunctionType and function.__module__ == BackgroundTask.__module__


def _end(call: TaskExecution, end: Callable[[*Arguments], None], *args: *Arguments) -> None:
    """End a run in the context it started in. An internal error is counted and never reaches the caller."""
    try:
        end(*args)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        call.ledger.record_internal_error(semconv.SCOPE, "ending a task", fault)
    finally:
        leave_run(call.token)
    if not nothing_deferred():
        drain()


def _begin(
    task: BackgroundTask, caller: RequestState | None, batch: BatchExecution | None
) -> TaskExecution | None:
    """Start the run of a task; ``None`` if it has none, or after an internal error."""
    if isinstance(task, TaskProxy):
        return None
    try:
        opened = _open(task, caller, batch)
        if opened is None:
            return None
        call = (_OnLoop if task.is_async else _InThread)(task, *opened, caller, batch)
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
            caller.instrumentation.ledger.record_internal_error(semconv.SCOPE, "beginning a task", fault)
        return None
    return call


def _open(task: BackgroundTask, caller: RequestState | None, batch: BatchExecution | None) -> OpenRun | None:
    """Return the run of a call: the one its batch planned, the one opened at creation, or a new one."""
    if batch is not None and (batch.planned or batch.outer is not None):
        planned = claim_planned_run(batch, task)
        if planned is not None:
            return planned
    record = find_task(task)
    if record is not None and record.run is not None and is_pending(record.run):
        return record.run, record
    if not isinstance(task, BackgroundTask) or not hasattr(task, "func"):
        return None
    if record is None and caller is None:
        return None
    if not is_observable(task) and isinstance(task.func, BackgroundTask):
        return None
    return open_run_at_call(task, record, caller)
