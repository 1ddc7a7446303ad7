"""Introduces an application's journal to its signals: what the journal finds of the dead, they tell."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial

from .._common.faults import contained
from .._common.log import log_fault
from .._ledger.instrumentation import Instrumentation, Settings
from .._ledger.journal.history import pids
from .._ledger.journal.journal import Journal, journal_at
from .._signals.lost import CountsDead, LostRuns, SpansOfTheDead
from .._signals.prometheus import PrometheusFiles
from .environment import journal_directory, journal_limits

_SOURCE = "Journal"
"""What the journal's own errors are counted as."""


def journal_of(settings: Settings) -> Journal | None:
    """Return the journal of an application; ``None`` if it keeps none. No file is made before it is needed."""
    directory = settings.journal or journal_directory()
    return None if directory is None else journal_at(directory, journal_limits())


def connect(journal: Journal, instrumentation: Instrumentation) -> None:
    """Let an application's signals tell of the dead.

    Of several applications with one journal, the one that was instrumented last does so.
    """
    settings, known = instrumentation.settings, weakref.ref(instrumentation)
    late = [] if instrumentation.late is None else [instrumentation.late[0]]
    metrics = [seen for seen in (*instrumentation.ledger.observers, *late) if isinstance(seen, CountsDead)]
    spans = SpansOfTheDead(settings.tracer_provider, new_trace=settings.new_trace) if settings.traces else None
    journal.teller = LostRuns(spans, logs=settings.logs, metrics=metrics, failed=_recording(known))
    journal.on_off.append(_counting(known))
    for files in instrumentation.ledger.observers:
        if isinstance(files, PrometheusFiles):
            files.set_journaled(not journal.is_off)
            journal.on_off.append(partial(files.set_journaled, False))
    instrumentation.journal = journal


def pids_in(journal: Journal | None) -> set[int]:
    """Return the processes whose accounts the journal closes, after closing those of the dead."""
    if journal is None or journal.is_off:
        return set()
    journal.recover()
    return pids(journal.directory)


def _recording(known: weakref.ref[Instrumentation]) -> Callable[[str, str, BaseException], None]:
    def failed(who: str, what: str, fault: BaseException) -> None:
        instrumentation = known()
        if instrumentation is not None:
            instrumentation.ledger.record_internal_error(who, what, fault)
        else:
            log_fault(f"{who}.{what} failed", fault)

    return failed


def _counting(known: weakref.ref[Instrumentation]) -> Callable[[], None]:
    """Return what counts the error that has switched a journal off; the journal itself has logged it."""

    def count() -> None:
        instrumentation = known()
        if instrumentation is not None and not instrumentation.closed:
            for observer in instrumentation.ledger.observers:
                with contained():
                    observer.observer_failed(_SOURCE)

    return count
