"""A batch of tasks. They run in order, and when one fails, the rest never run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import ContextVar

from starlette.background import BackgroundTask, BackgroundTasks

from .._common.context import run_around, take_back
from .._common.model import Outcome, TaskRun
from .._ledger.deferred import defer, drain
from .._ledger.runs import has_open_runs, is_pending
from .holders import MOST_NESTED, leads_to
from .patching import Function, MethodPatch
from .scheduling import OpenRun, is_container, is_observable, open_run_at_call
from .state import BatchRecord, RequestState, TaskRecord, current_request, find_batch, find_task, members_of
from .unstarted import why_skipped


class BatchExecution:
    """One execution of a batch: the runs still to come, and those opened at execution, not at creation."""

    __slots__ = ("around", "batch", "expected", "failed", "outer", "planned", "ran")

    def __init__(self, batch: BackgroundTasks, outer: BatchExecution | None) -> None:
        self.batch = batch
        self.outer = outer
        self.around = run_around()  # the run whose function calls the batch, if one does
        self.expected: list[OpenRun] = []
        self.planned: dict[int, list[OpenRun]] = {}
        self.failed: TaskRun | None = None
        self.ran = False  # one of its tasks was called through our hook


_current: ContextVar[BatchExecution | None] = ContextVar("afterword_plan", default=None)


current_batch = _current.get
enter_batch = _current.set
leave_batch = _current.reset


def claim_planned_run(innermost: BatchExecution, task: object) -> OpenRun | None:
    """Return the run that a batch opened at execution for the task it calls now; ``None`` if there is none."""
    execution: BatchExecution | None = innermost
    while execution is not None:
        waiting = execution.planned.get(id(task)) if execution.planned else None
        while waiting:
            opened = waiting.pop(0)
            if is_pending(opened[0]):
                return opened
        execution = execution.outer
    return None


def note_failure(execution: BatchExecution | None, run: TaskRun, record: TaskRecord) -> None:
    """Record in the surrounding batches that this run stopped them."""
    while execution is not None:
        execution.failed = run
        execution = execution.outer
    if record.batch is not None:
        record.batch.failed = run


def running(patch: MethodPatch, original: Function, on_missed: Callable[[], None]) -> Function:
    """Return a ``__call__`` of a batch that skips the rest when a member fails.

    ``on_missed`` is called when tasks ran without being tracked.
    """

    async def __call__(self: BackgroundTasks) -> None:
        record, caller = find_batch(id(self)), current_request()
        if not _is_followed(self, record, caller) or not (patch.hook is hook or has_open_runs()):
            await original(self)
            return
        execution = BatchExecution(self, _current.get())
        request = caller if caller is not None else record.request  # type: ignore[union-attr]
        failsafe = request.instrumentation.failsafe
        if record is None or not _is_as_created(self, record):
            failsafe("planning a batch", _plan_members, execution, self, record, caller)
        token = _current.set(execution)
        if record is not None:
            record.called = True
        try:
            await original(self)
        except GeneratorExit:
            take_back(_current, execution, token)
            defer(_skip_rest, execution, self, record, None)
            raise
        except BaseException as exc:
            _current.reset(token)
            if record is not None:
                record.finished = True
            failsafe("skipping a batch", _skip_rest, execution, self, record, exc)
            raise
        _current.reset(token)
        if record is not None:
            record.finished = True
            if execution.ran and not execution.expected and not record.request.runs:
                return  # all its runs have ended
        failsafe("closing a batch", _close, execution, self, record, on_missed)

    hook = __call__
    return hook


def _is_followed(batch: BackgroundTasks, record: BatchRecord | None, caller: RequestState | None) -> bool:
    """Return whether there is anything to follow in an execution of a batch."""
    if record is None and caller is None:
        return False
    if record is not None and not getattr(batch, "tasks", None):
        record.called = record.finished = True  # FastAPI injects a batch even if nothing is added to it
        if record.request.runs:
            failsafe = record.request.instrumentation.failsafe
            failsafe("looking for removed tasks", _note_removed, (), batch, record)
        return False
    outer = _current.get()
    return outer is None or outer.batch is not batch  # otherwise a subclass calls both classes' __call__


def _is_as_created(batch: BackgroundTasks, record: BatchRecord) -> bool:
    """Return whether each member has one pending run and knows its batch, so that there is nothing to plan."""
    tasks = batch.tasks
    if type(tasks) is not list or record.request.settled:  # a settled request has let its runs go
        return False
    for member in tasks:
        known = find_task(id(member))
        if known is None or known.batch is not record or not is_pending(known.run):
            return False
    return len(tasks) == 1 or len(set(map(id, tasks))) == len(tasks)


def _members(batch: BackgroundTasks, depth: int = MOST_NESTED) -> list[tuple[BackgroundTask, TaskRecord | None]]:
    """Return the tasks of a batch in order, through nested batches and containers; skip other members."""
    found: list[tuple[BackgroundTask, TaskRecord | None]] = []
    for member in members_of(batch):
        inner, levels = member, depth
        while levels and is_container(inner):
            inner, levels = inner.func, levels - 1
        if is_observable(inner):
            found.append((inner, find_task(id(inner))))
        elif levels and isinstance(inner, BackgroundTasks):
            found.extend(_members(inner, levels - 1))
    return found


def _plan_members(
    execution: BatchExecution, batch: BackgroundTasks, record: BatchRecord | None, caller: RequestState | None
) -> None:
    """Open a run for every member without a pending one: a shared batch, or a task that is listed twice."""
    seen: set[int] = set()
    for member, known in _members(batch):
        key = id(member)
        listed_before = key in seen
        seen.add(key)
        if known is not None and known.run is not None and not listed_before and is_pending(known.run):
            if known.batch is None:
                known.batch = record
            execution.expected.append((known.run, known))
        elif execution.outer is None or not _planned_outside(execution.outer, key):
            opened = open_run_at_call(member, known, caller)
            if opened is not None:
                execution.expected.append(opened)
                execution.planned.setdefault(key, []).append(opened)


def _planned_outside(execution: BatchExecution | None, key: int) -> bool:
    while execution is not None:
        if execution.planned.get(key):
            return True
        execution = execution.outer
    return False


def _skip_rest(
    execution: BatchExecution, batch: BackgroundTasks, known: BatchRecord | None, exc: BaseException | None
) -> None:
    """Skip the remaining runs, including those that a running task has added to its own batch."""
    _note_removed(execution.expected, batch, known)
    reason, detail = why_skipped(execution.failed, exc)
    culprit = execution.failed.name if execution.failed is not None else None
    added = [record for _, record in _members(batch) if record is not None]
    for run, record in [*execution.expected, *((record.run, record) for record in added)]:
        if run is not None and not record.removed and is_pending(run):
            ledger = record.request.instrumentation.ledger
            run._stopped_by = culprit
            ledger.end_unstarted(run, Outcome.SKIPPED, reason, detail)
            record.request.runs.pop(run, None)
    drain()


def _of_batch(known: BatchRecord | None) -> list[OpenRun]:
    """Return the open runs of a batch's tasks, in it or removed from it."""
    if known is None:
        return []
    runs = known.request.runs.copy()  # a thread may schedule more
    return [(run, record) for run, record in runs.items() if record.batch is known]


def _note_removed(expected: Iterable[OpenRun], batch: BackgroundTasks, known: BatchRecord | None) -> None:
    """Note which runs of a batch that is at its end had been taken out of it before their turn."""
    for run, record in [*expected, *_of_batch(known)]:
        if is_pending(run):
            task = record()
            record.removed = task is None or not leads_to(batch, task)


def _close(
    execution: BatchExecution, batch: BackgroundTasks, known: BatchRecord | None, on_missed: Callable[[], None]
) -> None:
    """Close the runs of a batch that ran to its end while another tool had removed our hook."""
    _note_removed(execution.expected, batch, known)
    if execution.ran:
        return
    missed = [
        (run, record)
        for run, record in execution.expected or _of_batch(known)
        if is_pending(run) and not record.removed
    ]
    for run, record in missed:
        ledger = record.request.instrumentation.ledger
        if ledger.start(run):
            ledger.finish(run, Outcome.SUCCEEDED, detail="it ran while another tool had removed our hook")
            record.request.runs.pop(run, None)
    if missed:
        on_missed()
