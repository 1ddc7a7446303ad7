"""The life of a run: scheduled, perhaps started, ended once. Observers are told of every transition.

Whenever no transition is in progress: scheduled = pending + running + the six outcomes. This law holds because an
open run is in exactly one of two dictionaries, and only one caller can delete it from there. No lock is needed, so
none can be held when the garbage collector runs a destructor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from random import Random
from threading import get_ident
from time import perf_counter, time
from types import MethodType
from typing import Final

from opentelemetry.context import Context

from .._common import forks, semconv
from .._common.context import capture_context
from .._common.faults import EXITS, contained
from .._common.log import log_fault
from .._common.model import (
    STARLETTE,
    Outcome,
    Reason,
    RequestInfo,
    TaskRun,
    full_name,
)
from .._common.observer import QueueObserver, TaskObserver
from .deferred import defer

_TRANSITIONS: Final = ("scheduled", "started", "ended", "request_failed", "error_answered", "tearing_down")

Listener = Callable[..., object]
Listeners = tuple[Listener, ...]
"""The observers' methods for one transition."""

# our own generator: an application may seed the shared one; reseeded in every forked process
_random = Random()  # noqa: S311  for ids, not for secrets
_random_bits = _random.getrandbits
forks.in_child(_random.seed)

_pending: dict[TaskRun, None] = {}
_running: dict[TaskRun, None] = {}
_inside_observer: set[int] = set()  # threads that are inside an observer now


def pending() -> list[TaskRun]:
    """Return the runs of this process that have not started, oldest first."""
    return list(_pending)


def running() -> list[TaskRun]:
    """Return the running tasks of this process, oldest first; in a worker, those of its queues."""
    return [run for _, running_now in open_runs.values() for run in list(running_now)]


open_runs: Final[dict[str, tuple[dict[TaskRun, None], dict[TaskRun, None]]]] = {STARLETTE: (_pending, _running)}
"""By engine, the runs of this process that have not started, and those that run."""


def inside_observer() -> bool:
    """Return whether this thread is inside an observer, whose own tasks are not tracked."""
    return bool(_inside_observer) and get_ident() in _inside_observer


is_pending: Final[Callable[[object], bool]] = _pending.__contains__
"""Return whether a run is scheduled and has not started; no function of ours, as every transition asks it."""


def has_open_runs() -> bool:
    """Return whether any run of this process has not ended."""
    return bool(_pending or _running)


def forget() -> None:
    """Forget all open runs: in a forked child, they are the parent's to report."""
    forks.leave_to_parent(dict(_pending), dict(_running))
    _pending.clear()
    _running.clear()
    _inside_observer.intersection_update({get_ident()})  # other threads do not exist in the child


forks.in_child(forget)


def listeners_of(observers: Sequence[TaskObserver], transition: str) -> Listeners:
    """Return the listeners of a transition: the methods that override the one of the class that declares it.

    A user's observer may have a method of its own that is named as one which only ours are told of.
    """
    declares = TaskObserver if hasattr(TaskObserver, transition) else QueueObserver
    declared = getattr(declares, transition)
    known = (getattr(observer, transition) for observer in observers if isinstance(observer, declares))
    return tuple(told for told in known if callable(told) and getattr(told, "__func__", None) is not declared)


class Ledger:
    """The account of one instrumented application. Moves its runs along and tells its observers."""

    def __init__(self, observers: Sequence[TaskObserver] = ()) -> None:
        self._faulty: set[tuple[str, str]] = set()
        self.set_observers(observers)

    def set_observers(self, observers: Sequence[TaskObserver]) -> None:
        """Replace the observers; the new ones are told of everything from now on."""
        self.observers = tuple(observers)
        # replaced, not changed: another thread may be iterating over the old ones
        listeners = (listeners_of(self.observers, transition) for transition in _TRANSITIONS)
        self._scheduled, self._started, self._ended, *of_requests, self._tearing_down = listeners
        self._request_failed, self._error_answered = of_requests

    def schedule(self, run: TaskRun, around: Context | None = None) -> None:
        """Open a new run. ``around`` is OpenTelemetry's context of the request that it belongs to."""
        run.id = _random_bits(128).to_bytes(16).hex()
        run.scheduled_at = time()
        run._scheduled_tick = perf_counter()
        run._captured = capture_context()
        _pending[run] = None
        if around:
            run._around = around
            self._notify(self._scheduled, run)
            # whatever keeps the run must not keep the application's values in it
            run._around = None
        elif self._scheduled:
            self._notify(self._scheduled, run)

    def start(self, run: TaskRun) -> bool:
        """Start a pending run; return false if it is not pending any more."""
        try:
            del _pending[run]
        except KeyError:
            return False
        run._started_tick = tick = perf_counter()
        run.started_at = time()
        run.wait = tick - run._scheduled_tick
        _running[run] = None
        if run._captured is not None:
            self._follow(run._captured.attach_missing)
        if self._started:
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
        """End a run that has started; return false if it has ended already."""
        try:
            del _running[run]
        except KeyError:
            return False
        if run.duration is None:
            run.duration = perf_counter() - run._started_tick
        self._end(run, outcome, reason, detail, exc)
        return True

    def end_unstarted(
        self, run: TaskRun, outcome: Outcome, reason: Reason, detail: str, exc: BaseException | None = None
    ) -> bool:
        """End a run that never started; return false if it has started or ended already."""
        try:
            del _pending[run]
        except KeyError:
            return False
        self._end(run, outcome, reason, detail, exc)
        return True

    def tear_down(self, run: TaskRun) -> None:
        """Tell the observers that cannot wait that a task is being destroyed.

        A lock may be held here, so errors are counted and logged later.
        """
        for listener in self._tearing_down:
            try:
                listener(run)
            except EXITS:
                raise
            except BaseException as fault:  # noqa: BLE001
                defer(self.record_internal_error, *self._names_of(listener), fault)
        if run._captured is not None and not run.torn_down:
            try:
                run._captured.detach()
            except EXITS:
                raise
            except BaseException as fault:  # noqa: BLE001
                defer(self.record_internal_error, semconv.SCOPE, "following the context", fault)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Tell the observers of a request that failed."""
        self._notify(tuple(functools.partial(listener, info) for listener in self._request_failed), exc)

    def error_answered(self, info: RequestInfo, exc: BaseException) -> None:
        """Tell the observers of an error that was answered as if there had been none."""
        self._notify(tuple(functools.partial(listener, info) for listener in self._error_answered), exc)

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
        elif reason is not None and run.error_type is None:
            run.error_type = reason.value
        captured = run._captured
        if captured is not None and (run.started_at is None or run.torn_down):
            self._follow(captured.attach_all)  # it ends outside its own context
        try:
            if self._ended:
                self._notify(self._ended, run)
        finally:
            if exc is not None:
                run.exception = None  # whatever keeps the run must not keep the task's frames
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

    def _notify(self, listeners: Listeners, subject: TaskRun | BaseException) -> None:
        thread = get_ident()
        nested = thread in _inside_observer
        _inside_observer.add(thread)
        try:
            for listener in listeners:
                try:
                    listener(subject)
                except EXITS:
                    raise
                except BaseException as fault:  # noqa: BLE001  an observer never affects the task
                    self.record_internal_error(*self._names_of(listener), fault)
        finally:
            if not nested:
                _inside_observer.discard(thread)

    def _names_of(self, listener: Listener) -> tuple[str, str]:
        """Return the names of an observer and of its method."""
        if isinstance(listener, functools.partial):
            listener = listener.func
        for observer in self.observers:
            for transition in _TRANSITIONS:
                if getattr(observer, transition, None) == listener:
                    return type(observer).__name__, transition
        # the observers have been replaced meanwhile
        owner = listener.__self__ if isinstance(listener, MethodType) else listener
        return type(owner).__name__, getattr(listener, "__name__", "call")

    def record_internal_error(self, who: str, what: str, fault: BaseException) -> None:
        """Count an error of an observer or of our own code, and log it the first time."""
        for observer in self.observers:
            with contained():  # nothing more can be done
                observer.observer_failed(who)
        if (who, what) not in self._faulty:
            self._faulty.add((who, what))
            log_fault(f"{who}.{what} failed; this is logged once", fault)
