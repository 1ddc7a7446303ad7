"""Introduces an application's journal to its signals: what the journal finds of the dead, they tell."""

from __future__ import annotations

import weakref

from .._common.faults import contained
from .._common.log import log_fault
from .._ledger.instrumentation import Instrumentation, Settings
from .._ledger.journal.history import pids
from .._ledger.journal.journal import Journal, journal_at
from .._ledger.journal.records import Record
from .._signals.lost import CountsDead, DeadProcess, DeadRun, LinesOfTheDead, LostRuns, SpansOfTheDead, TellsDead
from .._signals.prometheus import PrometheusFiles
from .._signals.queues.prometheus import QueuePrometheusFiles
from .environment import journal_directory, journal_limits

_SOURCE = "Journal"
"""What the journal's own errors are counted as."""


def journal_of(settings: Settings) -> Journal | None:
    """Return the journal of an application; ``None`` if it keeps none. No file is made before it is needed."""
    directory = settings.journal or journal_directory()
    return None if directory is None else journal_at(directory, journal_limits())


def connect(journal: Journal, instrumentation: Instrumentation) -> None:
    """Let an application's signals tell of the dead, until it is instrumented no more.

    Of several applications with one journal, the one that was instrumented last does so.
    """
    journal.join(_Keeper(instrumentation, is_off=journal.is_off))
    instrumentation.journal = journal


def pids_in(journal: Journal | None) -> set[int]:
    """Return the processes whose accounts the journal closes, after closing those of the dead."""
    if journal is None or journal.is_off:
        return set()
    journal.recover()
    return pids(journal.directory)


class _Keeper:
    """An application that keeps a journal. It is known weakly: the journal is the process's."""

    def __init__(self, instrumentation: Instrumentation, *, is_off: bool) -> None:
        settings, self._known = instrumentation.settings, weakref.ref(instrumentation)
        late = [] if instrumentation.late is None else [instrumentation.late[0]]
        observers = [*instrumentation.ledger.observers, *late]
        tellers: list[TellsDead] = []
        if settings.traces:  # first: the others have the ids of the span
            tellers.append(SpansOfTheDead(settings.tracer_provider, new_trace=settings.new_trace))
        if settings.logs:
            tellers.append(LinesOfTheDead())
        tellers += [seen for seen in observers if isinstance(seen, TellsDead)]
        metrics = [seen for seen in observers if isinstance(seen, CountsDead)]
        self._lost = LostRuns(tellers, metrics, self._failed)
        self._files = [seen for seen in observers if isinstance(seen, PrometheusFiles | QueuePrometheusFiles)]
        for files in self._files:
            files.set_journaled(not is_off)

    @property
    def has_left(self) -> bool:
        instrumentation = self._known()
        return instrumentation is None or instrumentation.closed

    def tell(self, run: DeadRun, /) -> None:
        self._lost.tell(run)

    def count(self, dead: DeadProcess, /) -> None:
        self._lost.count(dead)

    def still_has(self, run: Record, /) -> bool | None:
        instrumentation = self._known()
        ask = None if instrumentation is None else instrumentation.asks_broker
        if ask is None or run.tag is None or run.visible_until is None:
            return None
        return ask(run.tag, run.visible_until)

    def count_fault(self) -> None:
        instrumentation = self._known()
        for observer in () if instrumentation is None else instrumentation.ledger.observers:
            with contained():
                observer.observer_failed(_SOURCE)

    def went_off(self) -> None:
        for files in self._files:
            files.set_journaled(False)

    def _failed(self, who: str, what: str, fault: BaseException) -> None:
        instrumentation = self._known()
        if instrumentation is not None:
            instrumentation.ledger.record_internal_error(who, what, fault)
        else:
            log_fault(f"{who}.{what} failed", fault)
