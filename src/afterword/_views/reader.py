"""Where runs are read from: the journal of a directory, or the last ones of this process."""

from __future__ import annotations

import dataclasses
import heapq
import os
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from .._common.model import LOST
from .._common.variables import JOURNAL
from .._ledger.journal import history
from .._ledger.journal.history import Filter, Process
from .._ledger.journal.records import Record
from .._ledger.recent import RecentRuns


class Source(NamedTuple):
    """What runs are read from.

    Attributes:
        kind: ``journal`` or ``memory``.
        detail: what it holds, as a sentence.
        oldest: when the oldest run that it holds ended, in seconds since the epoch; ``None`` without any.
    """

    kind: str
    detail: str
    oldest: float | None


class Reader(Protocol):
    """Where runs are read from. Reading may block: call it in a thread. It may raise ``OSError``."""

    def ended(self, wanted: Filter | None = None) -> Iterator[Record]:
        """Yield the runs that have ended, newest first."""
        ...

    def in_flight(self, wanted: Filter | None = None) -> list[Record]:
        """Return the runs in flight, and those that were in processes that died; oldest first."""
        ...

    def processes(self) -> list[Process]:
        """Return the processes whose accounts are open, the living and the dead."""
        ...

    def source(self) -> Source:
        """Return what is read from."""
        ...


class JournalReader:
    """Reads a directory's journal: the runs of all processes of the host that keep it, over restarts.

    Where there is no directory yet, nothing was written, which is no error unless it ``must_exist``.
    """

    def __init__(self, directory: str, *, must_exist: bool = False) -> None:
        self.directory = directory
        self._must_exist = must_exist

    @property
    def is_there(self) -> bool:
        """Whether to look for its files."""
        return self._must_exist or os.path.isdir(self.directory)

    def ended(self, wanted: Filter | None = None) -> Iterator[Record]:
        """Yield the runs that have ended, newest first; raises ``OSError``."""
        return history.ended(self.directory, wanted or Filter()) if self.is_there else iter(())

    def in_flight(self, wanted: Filter | None = None) -> list[Record]:
        """Return the runs in flight, and those that were in processes that died; oldest first.

        Raises ``OSError``.
        """
        return history.in_flight(self.directory, wanted or Filter()) if self.is_there else []

    def processes(self) -> list[Process]:
        """Return the processes whose accounts are open, the living and the dead; raises ``OSError``."""
        return history.processes(self.directory) if self.is_there else []

    def source(self) -> Source:
        """Return what is read from; raises ``OSError``."""
        detail = "The journal: the runs of all processes of this host that keep it, over restarts."
        return Source("journal", detail, history.oldest(self.directory) if self.is_there else None)


class RecentReader:
    """Reads the last runs of this process, where there is no journal."""

    def __init__(self, recent: RecentRuns) -> None:
        self.recent = recent

    def ended(self, wanted: Filter | None = None) -> Iterator[Record]:
        """Yield the runs that have ended, newest first."""
        return self.recent.history(wanted or Filter())

    def in_flight(self, wanted: Filter | None = None) -> list[Record]:
        """Return the runs in flight, oldest first."""
        return self.recent.in_flight(wanted or Filter())

    def processes(self) -> list[Process]:
        """Return this process."""
        return [self.recent.this_process()]

    def source(self) -> Source:
        """Return what is read from."""
        detail = (
            f"The memory of process {self.recent.this_process().pid}: its last {self.recent.most:,} runs at most. "
            f"Other workers and what was before a restart are not in it; a journal has them ({JOURNAL})."
        )
        return Source("memory", detail, self.recent.oldest())


class Now(NamedTuple):
    """The runs that have not ended: what may still end, oldest first, and what died with its process."""

    in_flight: list[Record]
    lost: list[Record]


def look(reader: Reader, wanted: Filter | None = None) -> Now:
    """Return what has not ended. Nobody has closed the account of the lost ones yet, but they are lost."""
    known = reader.in_flight(wanted)
    lost = [_as_lost(record) for record in known if record.alive is False]
    return Now([record for record in known if record.alive is not False], lost)


def with_lost(ended: Iterator[Record], lost: list[Record], wanted: Filter) -> Iterator[Record]:
    """Yield the runs that have ended and those that were lost, newest first."""
    return heapq.merge(ended, sorted(filter(wanted.wants, lost), key=newest_first), key=newest_first)


def newest_first(record: Record) -> float:
    """Return what runs that have ended are sorted by."""
    return -(record.ended_at or 0.0)


def _as_lost(record: Record) -> Record:
    """Return what will be written of a run whose process is dead."""
    return dataclasses.replace(record, outcome=LOST, ended_at=record.seen_at or record.scheduled_at)
