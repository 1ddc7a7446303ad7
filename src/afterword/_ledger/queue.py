"""The books of a queue's tasks: published in one process, and held, attempted and ended in a worker's.

A run that a worker has in hand is in exactly one of two dictionaries, and only one caller can delete it from
there: so of two hooks that see the same end, the first one counts. No lock is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter, time
from typing import Final

from .._common import forks
from .._common.model import CELERY, Outcome, Reason, TaskRun, full_name
from .._common.observer import TaskObserver
from .runs import Ledger, listeners_of, open_runs

_held: dict[TaskRun, None] = {}
_active: dict[TaskRun, None] = {}
open_runs[CELERY] = _held, _active


def _forget() -> None:
    """In a forked child: what the parent has in hand is the parent's to report."""
    forks.leave_to_parent(dict(_held), dict(_active))
    _held.clear()
    _active.clear()


forks.in_child(_forget)

_MORE: Final = ("sent", "published", "received", "let_go", "acknowledged", "returned", "handed_over")

PUBLISH_FAILED: Final = "it never reached the broker; whoever called for it was told so by an exception"

Failed = Callable[[str, str, BaseException], None]


class QueueLedger(Ledger):
    """Moves a queue's runs along, and tells the observers. Only the ``main`` one of a process has them in hand."""

    def __init__(self, observers: Sequence[TaskObserver] = (), *, failed: Failed | None = None) -> None:
        """``failed``: what is told of an observer's error; without it, this is the main one, which counts it."""
        self._tell_failed = failed
        is_main = failed is None
        self._holds: dict[TaskRun, None] = _held if is_main else {}
        self._runs: dict[TaskRun, None] = _active if is_main else {}
        super().__init__(observers)

    def set_observers(self, observers: Sequence[TaskObserver]) -> None:
        """Replace the observers; the new ones are told of everything from now on."""
        super().set_observers(observers)
        listening = (listeners_of(self.observers, transition) for transition in _MORE)
        self._sent, self._published, self._received, self._let_go, *others = listening
        self._acknowledged, self._returned, self._handed_over = others

    def record_internal_error(self, who: str, what: str, fault: BaseException) -> None:
        """Count an error of an observer or of our own code, and log it the first time."""
        if self._tell_failed is not None:
            self._tell_failed(who, what, fault)
        else:
            super().record_internal_error(who, what, fault)

    # --- where it is published ----------------------------------------------------------------------------------

    def publish(self, run: TaskRun) -> None:
        """Open a run whose message is about to be sent."""
        run.scheduled_at = time()
        run._scheduled_tick = perf_counter()
        self._notify(self._scheduled, run)

    def sent(self, run: TaskRun) -> None:
        """Note that the message is with the broker."""
        self._notify(self._sent, run)

    def published(self, run: TaskRun) -> None:
        """Note that a publish is over, sent or failed, and how long it took the caller."""
        self._notify(self._published, run)

    def publish_failed(self, run: TaskRun, exc: BaseException | None) -> None:
        """End a run whose message was never sent; another process may have met the exception."""
        self._end(run, Outcome.DROPPED, Reason.PUBLISH_FAILED, PUBLISH_FAILED, exc)

    # --- where it is received -----------------------------------------------------------------------------------

    def receive(self, run: TaskRun) -> None:
        """Hold an attempt that has not begun."""
        run._held = True
        run._scheduled_tick = perf_counter()
        self._holds[run] = None
        self._notify(self._received, run)

    def let_go(self, run: TaskRun) -> None:
        """Hold an attempt no longer, whose message is the broker's again."""
        if self._holds.pop(run, self) is None:
            self._notify(self._let_go, run)
            run._held = False

    def begin(self, run: TaskRun) -> bool:
        """Begin an attempt that is held, or one that was never sent; return false if it has begun or ended."""
        if run.started_at is not None or run.outcome is not None or (run._held and run not in self._holds):
            return False
        self._holds.pop(run, None)
        run._started_tick = perf_counter()
        run.started_at = time()
        if run._held:
            run._held_time = run._started_tick - run._scheduled_tick
        self._runs[run] = None
        self._notify(self._started, run)
        run._held = False
        return True

    @property
    def hears_acknowledgements(self) -> bool:
        """Whether somebody wants to know when a message is acknowledged."""
        return bool(self._acknowledged)

    def acknowledge(self, run: TaskRun, state: int) -> None:
        """Note how far the acknowledgement of the message of an attempt is that has begun."""
        run._acknowledgement = state
        self._notify(self._acknowledged, run)

    def give_back(self, run: TaskRun, reason: Reason, detail: str, exc: BaseException | None = None) -> bool:
        """End an attempt that does not end its task; return false if it does not run."""
        if self._runs.pop(run, self) is not None:
            return False
        run.ended_at, run.reason, run.detail = time(), reason, detail
        run.duration = perf_counter() - run._started_tick
        run.error_type = None if exc is None else full_name(exc)
        self._notify(self._returned, run)
        return True

    def close(
        self,
        run: TaskRun,
        outcome: Outcome,
        reason: Reason | None = None,
        detail: str | None = None,
        exc: BaseException | None = None,
    ) -> bool:
        """End a run that this worker has in hand; return false if it has ended already."""
        if self._runs.pop(run, self) is None:
            if run.duration is None:
                run.duration = perf_counter() - run._started_tick
        elif self._holds.pop(run, self) is not None:
            return False
        if outcome is Outcome.SUCCEEDED and reason is not None:  # no error, though there is a reason
            run.reason, reason = reason, None
        self._end(run, outcome, reason, detail, exc)
        run._held = False
        return True

    def close_unreceived(self, run: TaskRun, outcome: Outcome, reason: Reason, detail: str) -> None:
        """End a run that no worker has held."""
        self._end(run, outcome, reason, detail, None)

    def skip(self, run: TaskRun, detail: str) -> None:
        """Open and end a run that will never be published, as an earlier task did not succeed."""
        self.publish(run)
        self._end(run, Outcome.SKIPPED, Reason.EARLIER_TASK_FAILED, detail, None)

    def hand_over(self, run: TaskRun) -> None:
        """Forget an attempt whose end another process tells."""
        if self._runs.pop(run, self) is None:
            self._notify(self._handed_over, run)

    def tell_end(self, run: TaskRun) -> None:
        """Tell an end that was counted elsewhere."""
        self._notify(self._returned if run.outcome is None else self._ended, run)
