"""A batch of tasks: they run in order, and when one fails the rest never runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTask, BackgroundTasks

from .._common.contexts import take_back
from .._common.model import Outcome, TaskRun
from .._ledger.deferred import defer, drain, recall_batch, recall_task
from .._ledger.runs import is_pending
from . import state as request
from . import unstarted as verdict
from .scheduling import Birth, fresh_run, is_container, is_observable

if TYPE_CHECKING:
    from .._ledger.deferred import BatchRecord, TaskRecord

_MAX_DEPTH = 20


class Plan:
    """One execution of a batch: the runs that are to come, and those that its members were not born with."""

    __slots__ = ("batch", "births", "expected", "failed", "outer")

    def __init__(self, batch: Any, outer: Plan | None) -> None:
        self.batch = batch
        self.outer = outer
        self.expected: list[Birth] = []
        self.births: dict[int, list[Birth]] = {}
        self.failed: TaskRun | None = None


_plan: ContextVar[Plan | None] = ContextVar("afterword_plan", default=None)


current_plan = _plan.get
enter = _plan.set
leave = _plan.reset


def take(innermost: Plan, task: Any) -> Birth | None:
    """Return the run that a batch has opened for the task it calls now, which was not born with one to come."""
    plan: Plan | None = innermost
    while plan is not None:
        waiting = plan.births.get(id(task)) if plan.births else None
        while waiting:
            birth = waiting.pop(0)
            if is_pending(birth[0]):
                return birth
        plan = plan.outer
    return None


def note_failure(plan: Plan | None, run: TaskRun, record: TaskRecord) -> None:
    """Tell the batches around a run that it is what stopped them."""
    while plan is not None:
        plan.failed = run
        plan = plan.outer
    if record.batch is not None:
        record.batch.failed = run


def concerns(batch: Any) -> bool:
    """Return whether the execution of a batch may be part of an account."""
    record = recall_batch(batch)
    if record is None:
        return request.current() is not None
    if not getattr(batch, "tasks", None):  # FastAPI injects a batch whether anything is added to it or not
        record.called = record.finished = True
        return False
    return True


async def run_batch(batch: Any, original: Callable[[Any], Awaitable[None]], on_missed: Callable[[], None]) -> None:
    """Run a batch through ``original``; ``on_missed`` is called when its tasks ran without our noticing."""
    record = recall_batch(batch)
    caller = request.current()
    outer = _plan.get()
    if outer is not None and outer.batch is batch:  # a subclass that calls both classes' __call__
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
        take_back(_plan, plan, token)
        defer(_skip_rest, plan, batch, None)
        raise
    except BaseException as exc:
        _plan.reset(token)
        _mark_finished(record)
        scope.account.guard("skipping a batch", _skip_rest, plan, batch, exc)
        raise
    _plan.reset(token)
    _mark_finished(record)
    scope.account.guard("closing a batch", _close_unnoticed, plan, on_missed)


def _mark_finished(record: BatchRecord | None) -> None:
    if record is not None:
        record.finished = True


def _members(batch: Any, depth: int = _MAX_DEPTH) -> list[tuple[BackgroundTask, TaskRecord | None]]:
    """Return the tasks of a batch in order, through nested batches and containers; other members are not ours."""
    found: list[tuple[BackgroundTask, TaskRecord | None]] = []
    for member in tuple(getattr(batch, "tasks", None) or ()):
        known = recall_task(member)
        if (known is not None and known.run is not None) or is_observable(member):
            found.append((member, known))
            continue
        inner, levels = member, depth
        while levels and is_container(inner):
            inner, levels = inner.func, levels - 1
        if is_observable(inner):
            found.append((inner, recall_task(inner)))
        elif levels and isinstance(inner, BackgroundTasks):
            found.extend(_members(inner, levels - 1))
    return found


def _plan_members(plan: Plan, batch: Any, record: BatchRecord | None, caller: Any) -> None:
    """Open a run for every member that has none pending: a shared batch, or a task that is listed twice."""
    seen: set[int] = set()
    for member, known in _members(batch):
        key = id(member)
        listed_before = key in seen
        seen.add(key)
        if known is not None and known.run is not None and not listed_before and is_pending(known.run):
            if known.batch is None:
                known.batch = record
            plan.expected.append((known.run, known))
        elif plan.outer is None or not _planned_outside(plan.outer, key):
            birth = fresh_run(member, known, caller)
            if birth is not None:
                plan.expected.append(birth)
                plan.births.setdefault(key, []).append(birth)


def _planned_outside(plan: Plan | None, key: int) -> bool:
    while plan is not None:
        if plan.births.get(key):
            return True
        plan = plan.outer
    return False


def _skip_rest(plan: Plan, batch: Any, exc: BaseException | None) -> None:
    """Skip what is still to come, also what a running task has added to its own batch."""
    reason, detail = verdict.skipped(plan.failed, exc)
    added = [record for _, record in _members(batch) if record is not None]
    for run, record in [*plan.expected, *((record.run, record) for record in added)]:
        if run is not None and is_pending(run):
            ledger = record.scope.account.ledger
            ledger.give_up(run, Outcome.SKIPPED, reason, detail)
            record.scope.release(run)
    drain()


def _close_unnoticed(plan: Plan, on_missed: Callable[[], None]) -> None:
    """Close the runs of a batch that ran to its end while another tool had taken our hook out."""
    if not plan.expected or not all(is_pending(run) for run, _ in plan.expected):
        return
    for run, record in plan.expected:
        ledger = record.scope.account.ledger
        if ledger.start(run):
            ledger.finish(run, Outcome.SUCCEEDED, detail="it ran while another tool had removed our hook")
            record.scope.release(run)
    on_missed()
