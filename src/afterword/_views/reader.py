"""Where runs are read from: the journal of a directory, or the last ones of this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from .._ledger.journal import history
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record


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

    def ended(self, wanted: Filter = Filter()) -> Iterator[Record]:
        """Yield the runs that have ended, newest first."""
        ...

    def in_flight(self, wanted: Filter = Filter()) -> list[Record]:
        """Return the runs in flight, and those that were in processes that died; oldest first."""
        ...

    def source(self) -> Source:
        """Return what is read from."""
        ...


class JournalReader:
    """Reads a directory's journal: the runs of all processes of the host that keep it, over restarts."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def ended(self, wanted: Filter = Filter()) -> Iterator[Record]:
        """Yield the runs that have ended, newest first; raises ``OSError``."""
        return history.ended(self.directory, wanted)

    def in_flight(self, wanted: Filter = Filter()) -> list[Record]:
        """Return the runs in flight, and those that were in processes that died; oldest first.

        Raises ``OSError``.
        """
        return history.in_flight(self.directory, wanted)

    def source(self) -> Source:
        """Return what is read from; raises ``OSError``."""
        detail = "the journal: the runs of all processes that keep it, over restarts"
        return Source("journal", detail, history.oldest(self.directory))
