"""One call of a task: started, timed, ended. The user's function runs as it would without us."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextvars import Token
from itertools import islice
from types import FrameType, FunctionType
from typing import Any, Final

from starlette import background
from starlette.background import BackgroundTask

from .._common import foreign, semconv
from .._common.context import enter_run, leave_destroyed_run, leave_run
from .._common.faults import EXITS
from .._common.log import log_fault
from .._common.model import FAILED, SUCCEEDED, Outcome, Reason, TaskRun
from .._common.task_names import task_options
from .._ledger.deferred import defer, drain, nothing_deferred
from .._ledger.instrumentation import Instrumentation
from .._ledger.runs import has_open_runs, is_pending
from .batch import BatchExecution, claim_planned_run, current_batch, note_failure
from .callbacks import task_failed
from .patching import MethodPatch
from .request_errors import is_cancellation
from .scheduling import OpenRun, is_container, open_run_at_call
from .state import RequestState, TaskRecord, current_request, find_task
from .task_proxy import TaskProxy, awaited, never_awaited, stand_in_for

Original = Callable[[BackgroundTask], Awaitable[None]]

# all that Starlette's own ``__call__`` of a task uses: it awaits the function, or runs it in a thread
_STARLETTES_NAMES = {"is_async", "func", "args", "kwargs", "run_in_threadpool"}

_MOST_TASKS: Final = 1000
"""Of asyncio's tasks, so many are walked through in one look for where ours stand."""


class TaskExecution:
    """One call of one task, from start to end."""

    __slots__ = (
        *("batch", "behind_response", "caller", "isolated", "ledger", "proxy", "record", "run", "task", "token"),
    )

    isolated: bool
    """Whether what the function raised ends here, by ``@task(isolated=True)``."""
    proxy: TaskProxy | None
    """What is called in place of the task; ``None`` if its function is awaited directly."""
    token: Token[TaskRun | None]

    def __init__(
        self,
        task: BackgroundTask,
        run: TaskRun,
        record: TaskRecord,
        caller: RequestState | None,
        batch: BatchExecution | None,
    ) -> None:
        self.task = task
        self.run = run
        self.record = record
        self.caller = caller
        self.batch = batch
        self.isolated = False
        self.proxy = None
        self.ledger = record.request.instrumentation.ledger
        if batch is not None:
            batch.ran = True
        self.behind_response = behind = caller is not None and caller.complete
        if behind:
            caller.background_ran = True  # type: ignore[union-attr]
            if run.request is not None and caller is record.request:
                run.request._answered_at = record.request.answered_at
        if record.failure is not None:
            record.failure = None

    def stand_in(self, original: Original, choose: Callable[[Instrumentation, Original], Original]) -> Original:
        """Create the proxy, and return the method to call on it: another tool may have patched Starlette's."""
        self.proxy = proxy = stand_in_for(self.task)
        if _is_starlettes(original):
            return original
        instrumentation = self.record.request.instrumentation
        failsafe = instrumentation.failsafe
        chosen: Original = failsafe("going past another patch", choose, instrumentation, original) or original
        if not _is_starlettes(chosen):
            failsafe("standing in for a task", proxy.copy_identity, self.task)
        return chosen

    def returned(self, result: object) -> None:
        """End the run of a function that returned."""
        unawaited = swallowed = None
        if self.proxy is not None:
            unawaited = self.proxy.never_awaited
        elif result is not None:
            unawaited = never_awaited(result, getattr(self.task, "func", None), awaits=True)  # it may be gone
        if foreign.swallowing:
            swallowed = foreign.swallowed(getattr(self.task, "func", None))
        if unawaited is not None:
            self.ledger.finish(self.run, Outcome.FAILED, Reason.NEVER_AWAITED, unawaited)
        elif swallowed is not None:
            self.ledger.finish(self.run, Outcome.FAILED, Reason.EXCEPTION, swallowed)
        else:
            self.ledger.finish(self.run, SUCCEEDED)

    def raised(self, exc: BaseException) -> None:
        """End the run of a function that raised."""
        if is_cancellation(exc):
            self.ledger.finish(self.run, Outcome.CANCELLED, Reason.CANCELLED, self._how_cancelled(), exc)
        elif self.isolated:
            detail = "it raised; see the traceback. It is isolated: the tasks behind it run"
            self.ledger.finish(self.run, Outcome.FAILED, Reason.EXCEPTION, detail, exc)
            return
        else:
            self.ledger.finish(self.run, Outcome.FAILED, Reason.EXCEPTION, "it raised; see the traceback", exc)
        note_failure(self.batch, self.run, self.record)
        if self.behind_response and self.caller is not None:
            self.caller.task_failed = True
            self.caller.task_told = exc if self.run._logged and not self.caller.settled else None

    def _how_cancelled(self) -> str:
        """Describe how far the function had come. A function in a thread cannot be stopped."""
        proxy = self.proxy
        if proxy is None or proxy.is_async:
            return "it was cancelled while it ran"
        if proxy.began is None:
            return "it was cancelled while it waited for a worker thread; its function never began"
        if proxy.finished is None:
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
        if self.proxy is not None:
            self.proxy.end(self.run)
        detail = "it was torn down while it ran: its coroutine was destroyed, or it raised GeneratorExit itself"
        self.ledger.finish(self.run, Outcome.CANCELLED, Reason.CANCELLED, detail)
        self.record.request.runs.pop(self.run, None)


def frames_of(runs: Collection[TaskRun]) -> dict[TaskRun, list[FrameType]]:
    """Return the frames in which running tasks stand, from each one's function inwards, where that is known.

    There is none yet while a sync task waits for its thread. Call it on the event loop.
    """
    found: dict[TaskRun, list[FrameType]] = {}
    for task in islice(asyncio.all_tasks(), _MOST_TASKS):
        chain = list(awaited(task.get_coro()))
        for depth, frame in enumerate(chain):
            call = frame.f_locals.get("call") if frame.f_globals is globals() else None
            if isinstance(call, TaskExecution) and call.run in runs:
                proxy = call.proxy
                frames = chain[depth + 1 :] if proxy is None or proxy.is_async else proxy.frames()
                if frames is not None:
                    found[call.run] = frames
        if len(found) == len(runs):
            break
    return found


def accounting(
    patch: MethodPatch, original: Original, choose: Callable[[Instrumentation, Original], Original]
) -> Original:
    """Return a ``__call__`` that accounts for each call of a task, and otherwise does what ``original`` does.

    An async function is awaited as Starlette's own ``__call__`` does. For a sync one, or with another tool's patch
    beneath, ``original`` is called on a stand-in; ``choose`` may pick another original where our span is
    opened. Tasks of applications that are not instrumented are ignored, as are stand-ins that another tool's patch
    passes back to us.
    """
    awaits_directly = _is_starlettes(original) and set(original.__code__.co_names) <= _STARLETTES_NAMES

    async def __call__(self: BackgroundTask) -> None:
        caller, batch, record = current_request(), current_batch(), find_task(id(self))
        call = None
        if (caller or batch or record) and (patch.hook is hook or has_open_runs()):
            call = _begin(self, record, caller, batch)
        if call is None:
            await original(self)
            return
        result = None
        try:
            if awaits_directly and self.is_async:
                result = await self.func(*self.args, **self.kwargs)
            else:
                await call.stand_in(original, choose)(call.proxy)  # type: ignore[arg-type]
        except GeneratorExit:
            call.tear_down()
            raise
        except BaseException as exc:
            call.isolated = _isolates(call, exc)
            if _end(call, call.raised, exc):
                await task_failed(call.run, call.record, call.caller, exc)
            if call.isolated:
                return
            raise
        if _end(call, call.returned, result):
            await task_failed(call.run, call.record, call.caller, None)

    hook = __call__
    return hook


def _is_starlettes(function: Any) -> bool:
    # its globals tell: a wrapper takes over the module's name, and a proxy of the method has its globals, too
    return type(function) is FunctionType and function.__globals__ is vars(background)


def _isolates(call: TaskExecution, exc: BaseException) -> bool:
    """Return whether an exception ends with its task, which says so; it does not where code awaits one task."""
    if not isinstance(exc, Exception) or (call.batch is None and not call.behind_response):
        return False
    known = call.record.request.instrumentation
    return known.failsafe("looking whether a task is isolated", _is_isolated, call) is True


def _is_isolated(call: TaskExecution) -> bool:
    is_asked_for = task_options(getattr(call.task, "func", None)).isolated  # it may be gone
    return is_asked_for and type(call.task).__call__ is BackgroundTask.__call__ and not _is_inside_a_task(call)


def _is_inside_a_task(call: TaskExecution) -> bool:
    """Return whether another task's function calls this one by itself, in its own request and in no batch."""
    around = call.token.old_value
    if not isinstance(around, TaskRun):
        return False
    return around.request is call.run.request if call.batch is None else around is not call.batch.around


def _end(call: TaskExecution, end: Callable[[Any], None], how: object) -> bool:
    """End a run in the context it started in, and return whether it failed. An internal error is counted."""
    try:
        if call.proxy is not None:
            call.proxy.end(call.run)
        end(how)
        call.record.request.runs.pop(call.run, None)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        call.ledger.record_internal_error(semconv.SCOPE, "ending a task", fault)
    finally:
        leave_run(call.token)
    if not nothing_deferred():
        drain()
    return call.run.outcome is FAILED


def _begin(
    task: BackgroundTask, record: TaskRecord | None, caller: RequestState | None, batch: BatchExecution | None
) -> TaskExecution | None:
    """Start the run of a task; ``None`` if it has none, or after an internal error."""
    try:
        run = None if record is None else record.run
        if run is not None and is_pending(run):
            call = TaskExecution(task, run, record, caller, batch)  # type: ignore[arg-type]
        else:
            opened = _open(task, record, caller, batch)
            if opened is None:
                return None
            call = TaskExecution(task, *opened, caller, batch)
        try:
            call.ledger.start(call.run)
        except EXITS as exc:
            call.token = enter_run(call.run)
            _end(call, call.raised, exc)
            raise
        call.token = enter_run(call.run)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        if caller is None:
            log_fault("beginning a task", fault)
        else:
            caller.instrumentation.ledger.record_internal_error(semconv.SCOPE, "beginning a task", fault)
        return None
    return call


def _open(
    task: BackgroundTask, record: TaskRecord | None, caller: RequestState | None, batch: BatchExecution | None
) -> OpenRun | None:
    """Return the run of a call that has none from its creation: the one its batch planned, or a new one."""
    if isinstance(task, TaskProxy):
        return None
    if batch is not None and (planned := claim_planned_run(batch, task)) is not None:
        return planned
    if not isinstance(task, BackgroundTask) or not hasattr(task, "func") or is_container(task):
        return None
    return open_run_at_call(task, record, caller)
