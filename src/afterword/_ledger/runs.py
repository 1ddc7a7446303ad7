"""The life of a run: scheduled, perhaps started, ended once; every transition is told to the observers.

The law, whenever no transition is in progress: scheduled = pending + running + the six outcomes. It holds because
a run is in exactly one of two dictionaries until it ends, and ``dict.pop`` lets exactly one caller take it out:
no lock is needed, so none can be held when the garbage collector runs somebody's destructor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from random import Random
from threading import get_ident
from time import perf_counter, time
from typing import Any

from .._common import forks, semconv
from .._common.context import capture_context
from .._common.faults import EXITS, contained
from .._common.log import log_fault
from .._common.model import Outcome, Reason, RequestInfo, TaskObserver, TaskRun, full_name

Listener = Callable[..., None]
Listeners = tuple[tuple[Listener, str, str], ...]
"""Who listens to a transition: what to call, and what to call it in a fault."""

# one of our own, since an application may seed the common one, and seeded anew in every forked process
_random = Random()  # noqa: S311  for ids, not for secrets
_random_bits = _random.getrandbits
forks.in_child(_random.seed)

_pending: dict[TaskRun, None] = {}
_running: dict[TaskRun, None] = {}
_inside_observer: set[int] = set()  # the threads that are inside an observer just now


def pending() -> list[TaskRun]:
    """Return the runs of this process that have not begun, oldest first."""
    return list(_pending)


def running() -> list[TaskRun]:
    """Return what this process is doing now: its running tasks, oldest first."""
    return list(_running)


def inside_observer() -> bool:
    """Return whether this thread is inside an observer, whose own tasks are not accounted for."""
    return bool(_inside_observer) and get_ident() in _inside_observer


def is_pending(run: TaskRun) -> bool:
    """Return whether the run is scheduled and not begun."""
    return run in _pending


def has_open_runs() -> bool:
    """Return whether any run of this process has not ended."""
    return bool(_pending or _running)


def _forget() -> None:
    """Leave the runs of the parent to it, in a forked child."""
    forks.leave_to_parent(dict(_pending), dict(_running))
    _pending.clear()
    _running.clear()
    _inside_observer.intersection_update({get_ident()})  # the other threads are not here


forks.in_child(_forget)


def _listeners(observers: Sequence[TaskObserver], transition: str) -> Listeners:
    """Return who listens to a transition; not those that do nothing."""
    ignored = getattr(TaskObserver, transition)
    methods = [(getattr(observer, transition), type(observer).__name__, transition) for observer in observers]
    return tuple(listener for listener in methods if getattr(listener[0], "__func__", None) is not ignored)


class Ledger:
    """The account of one instrumented application: moves its runs along and tells its observers."""

    def __init__(self, observers: Sequence[TaskObserver] = ()) -> None:
        self._faulty: set[tuple[str, str]] = set()
        self.set_observers(observers)

    def set_observers(self, observers: Sequence[TaskObserver]) -> None:
        """Tell these observers of all that happens from now on, and no others."""
        self.observers = tuple(observers)
        # put in place, not added to: another thread may be going through those before
        self._scheduled, self._started, self._ended, self._request_failed, self._tearing_down = (
            _listeners(self.observers, transition)
            for transition in ("scheduled", "started", "ended", "request_failed", "tearing_down")
        )

    def schedule(self, run: TaskRun) -> TaskRun:
        """Open the account of a new run."""
        run.id = _random_bits(128).to_bytes(16, "big").hex()
        run.scheduled_at = time()
        run._scheduled_tick = perf_counter()
        run._captured = capture_context()
        _pending[run] = None
        self._notify(self._scheduled, run)
        return run

    def start(self, run: TaskRun) -> bool:
        """Note that a pending run begins; false if it was not pending any more."""
        try:
            del _pending[run]
        except KeyError:
            return False
        tick = perf_counter()
        run.started_at = time()
        run._started_tick = tick
        run.wait = tick - run._scheduled_tick
        _running[run] = None
        if run._captured is not None:
            self._follow(run._captured.attach_missing)
        self._notify(self._started, run)
        return True

    def finish(
        self,
        run: TaskRun,
        outcome: Outcome,
        reason: Reason | None = None,
        detail: str | None = None,
        exc: BaseException | None = None,
    ) -> bool:
        """End a run that began; false if it had ended already."""
        try:
            del _running[run]
        except KeyError:
            return False
        if run.duration is None:
            run.duration = perf_counter() - run._started_tick - (run.thread_wait or 0.0)
        self._end(run, outcome, reason, detail, exc)
        return True

    def end_unstarted(
        self, run: TaskRun, outcome: Outcome, reason: Reason, detail: str, exc: BaseException | None = None
    ) -> bool:
        """End a run that never began; false if it had begun or ended already."""
        try:
            del _pending[run]
        except KeyError:
            return False
        self._end(run, outcome, reason, detail, exc)
        return True

    def tear_down(self, run: TaskRun) -> None:
        """Tell whom it cannot wait for that a task is being destroyed; a fault here cannot even be logged."""
        for listener, _, _ in self._tearing_down:
            with contained():
                listener(run)
        if run._captured is not None and not run.torn_down:
            with contained():
                run._captured.detach()

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Tell the observers of a request that failed."""
        told = ((functools.partial(listener, info), who, what) for listener, who, what in self._request_failed)
        self._notify(tuple(told), exc)

    def _end(
        self,
        run: TaskRun,
        outcome: Outcome,
        reason: Reason | None,
        detail: str | None,
        exc: BaseException | None,
    ) -> None:
        run.ended_at = time()
        run.outcome = outcome
        if reason is not None or detail is not None:
            run.reason, run.detail = reason, detail
        if exc is not None:
            run.error_type, run.exception = full_name(exc), exc
        elif outcome is Outcome.FAILED:
            run.error_type = reason
        captured = run._captured
        if captured is not None and (run.started_at is None or run.torn_down):
            self._follow(captured.attach_all)  # told outside of its own context
        try:
            self._notify(self._ended, run)
        finally:
            if exc is not None:
                run.exception = None  # whoever keeps the run must not keep the frames of the task
            if captured is not None:
                run._captured = None
                self._follow(captured.detach)

    def _follow(self, step: Callable[[], None]) -> None:
        try:
            step()
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self.record_internal_error(semconv.SCOPE, "following the context", fault)

    def _notify(self, listeners: Listeners, subject: Any) -> None:
        if not listeners:
            return
        thread = get_ident()
        nested = thread in _inside_observer
        _inside_observer.add(thread)
        try:
            for listener in listeners:
                try:
                    listener[0](subject)
                except EXITS:
                    raise
                except BaseException as fault:  # noqa: BLE001  an observer never disturbs the task
                    self.record_internal_error(listener[1], listener[2], fault)
        finally:
            if not nested:
                _inside_observer.discard(thread)

    def record_internal_error(self, who: str, what: str, fault: BaseException) -> None:
        """Count a fault of an observer or of our own parts, and log it the first time."""
        for observer in self.observers:
            with contained():  # it has been told; it cannot do better
                observer.observer_failed(who)
        if (who, what) not in self._faulty:
            self._faulty.add((who, what))
            log_fault(f"{who}.{what} failed; this is logged once", fault)
