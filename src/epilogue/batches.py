"""A batch of tasks: they run in order, and when one fails the rest never runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTask, BackgroundTasks

from . import request, verdict
from .births import Birth, adopt_member, fresh_run, is_observable
from .ledger import is_pending
from .lifetimes import defer, drain, recall_batch, recall_task
from .model import Outcome, Reason, TaskRun

if TYPE_CHECKING:
    from .lifetimes import BatchRecord, TaskRecord

_MAX_DEPTH = 20


class Plan:
    """The runs of one execution of a batch that its members were not born with."""

    __slots__ = ("batch", "births", "failed", "outer")

    def __init__(self, batch: Any, outer: Plan | None) -> None:
        self.batch = batch
        self.outer = outer
        self.births: dict[int, list[Birth]] = {}
        self.failed: TaskRun | None = None


_plan: ContextVar[Plan | None] = ContextVar("epilogue_plan", default=None)


def take(task: Any) -> Birth | None:
    """Return the run that a batch has planned for the task it calls now."""
    plan = _plan.get()
    while plan is not None:
        waiting = plan.births.get(id(task)) if plan.births else None
        while waiting:
            birth = waiting.pop(0)
            if is_pending(birth[0]):
                return birth
        plan = plan.outer
    return None


current_plan = _plan.get


def note_failure(plan: Plan | None, run: TaskRun, record: TaskRecord) -> None:
    """Tell the batches around a run that it is what stopped them."""
    while plan is not None:
        plan.failed = run
        plan = plan.outer
    if record.batch is not None:
        record.batch.failed = run.name


async def run_batch(batch: Any, original: Callable[[Any], Awaitable[None]], on_missed: Callable[[], None]) -> None:
    """Run a batch through ``original``; ``on_missed`` is called when its tasks ran without our noticing."""
    record = recall_batch(batch)
    caller = request.current()
    outer = _plan.get()
    if (caller is None and record is None) or (outer is not None and outer.batch is batch):
        await original(batch)
        return
    plan = Plan(batch, outer)
    scope = caller if caller is not None else record.scope  # type: ignore[union-attr]
    scope.account.guard("planning a batch", _plan_members, plan, batch, record, caller)
    token = _plan.set(plan)
    if record is not None:
        record.called = True
    try:
        await original(batch)
    except GeneratorExit:
        defer(_skip_rest, plan, batch, None)
        raise
    except BaseException as exc:
        _plan.reset(token)
        _mark_finished(record)
        scope.account.guard("skipping a batch", _skip_rest, plan, batch, exc)
        raise
    _plan.reset(token)
    _mark_finished(record)
    scope.account.guard("closing a batch", _close_unnoticed, plan, batch, on_missed)


def _mark_finished(record: BatchRecord | None) -> None:
    if record is not None:
        record.finished = True


def _members(batch: Any, depth: int = _MAX_DEPTH) -> Iterator[BackgroundTask]:
    """Yield the tasks of a batch in order, through nested batches and containers; other members are not ours."""
    for member in list(getattr(batch, "tasks", None) or ()):
        inner = member
        while depth and isinstance(inner, BackgroundTask) and not isinstance(inner, BackgroundTasks):
            func = getattr(inner, "func", None)
            if not isinstance(func, BackgroundTask):
                break
            inner, depth = func, depth - 1
        if isinstance(inner, BackgroundTasks):
            if depth:
                yield from _members(inner, depth - 1)
        elif is_observable(inner):
            yield inner


def _plan_members(plan: Plan, batch: Any, record: BatchRecord | None, caller: Any) -> None:
    """Open a run for every member that has none pending: a shared batch, or a task that is listed twice."""
    seen: set[int] = set()
    for member in _members(batch):
        known = recall_task(member)
        key = id(member)
        if record is not None:
            adopt_member(member, record)
        if key not in seen and known is not None and known.run is not None and is_pending(known.run):
            seen.add(key)
            continue
        seen.add(key)
        if _planned_outside(plan.outer, key):
            continue
        birth = fresh_run(member, known, caller)
        if birth is not None:
            plan.births.setdefault(key, []).append(birth)


def _planned_outside(plan: Plan | None, key: int) -> bool:
    while plan is not None:
        if plan.births.get(key):
            return True
        plan = plan.outer
    return False


def _unstarted(plan: Plan, batch: Any) -> Iterator[Birth]:
    for births in plan.births.values():
        yield from births
    for member in _members(batch):
        record = recall_task(member)
        if record is not None and record.run is not None:
            yield record.run, record


def _skip_rest(plan: Plan, batch: Any, exc: BaseException | None) -> None:
    cause = exc if exc is not None else GeneratorExit()
    detail = verdict.skipped(plan.failed, cause)
    for run, record in _unstarted(plan, batch):
        if is_pending(run):
            ledger = record.scope.account.ledger
            ledger.give_up(run, Outcome.SKIPPED, Reason.EARLIER_TASK_FAILED, detail)
            record.scope.release(run)
    drain()


def _close_unnoticed(plan: Plan, batch: Any, on_missed: Callable[[], None]) -> None:
    """Close the runs of members that were called while another tool had taken our hook out."""
    missed = False
    for run, record in _unstarted(plan, batch):
        ledger = record.scope.account.ledger
        if is_pending(run) and ledger.start(run):
            missed = True
            ledger.finish(run, Outcome.SUCCEEDED, detail="it ran while another tool had removed our hook")
            record.scope.release(run)
    if missed:
        on_missed()
