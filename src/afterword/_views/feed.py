"""What has changed since one looked last: it reads only what is new, however much there is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from io import BytesIO
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

from .._ledger.journal import files, history, layout
from .._ledger.journal.lines import RETURNED_ENDS
from .._ledger.journal.records import Record, parse_line
from .._ledger.recent import RecentRuns
from .reader import JournalReader, Reader, RecentReader, newest_first

MOST: Final = 100
"""Runs that are told at once."""
FEW: Final = 10
"""So many are told, the newest, where there are more: whoever has to ask for the others asks for these, too."""
_OVERLAP: Final = 64 << 10
"""So many bytes before the last line are read again: a thread may write its line later than the next ones."""
_CHUNK: Final = 256 << 10
_NOTHING: Final = bytes(_OVERLAP)


class Changes(NamedTuple):
    """What has changed.

    Attributes:
        ended: the runs that ended, newest first; of many, the newest.
        total: how many ended.
        pending: how many have not started now.
        running: how many run now.
    """

    ended: list[Record]
    total: int
    pending: int
    running: int


class Feed(Protocol):
    """Tells what has changed since it was asked last. One thread at a time asks it."""

    def poll(self) -> Changes:
        """Return what has changed; the first time, since the feed was made. May block, and raise ``OSError``."""
        ...


def feed_of(reader: Reader) -> Feed:
    """Return what tells of changes from now on; raises ``OSError``."""
    if isinstance(reader, RecentReader):
        return RecentFeed(reader.recent)
    if isinstance(reader, JournalReader):
        return JournalFeed(reader)
    raise TypeError(f"there is no feed of a {type(reader).__name__}")


def shown(total: int) -> int:
    """Return how many of so many new runs are told."""
    return total if total <= MOST else FEW


class RecentFeed:
    """Tells what has changed in this process."""

    def __init__(self, recent: RecentRuns) -> None:
        self._recent = recent
        self._last = b"".join(recent.lines()[-1:])
        """The last line that was there; the next ones are new, whoever writes meanwhile."""

    def poll(self) -> Changes:
        """Return what has changed."""
        lines = self._recent.lines()
        total = next((after for after, line in enumerate(reversed(lines)) if line == self._last), len(lines))
        self._last = lines[-1] if lines else self._last
        newest = reversed(lines[-shown(total) :] if total else [])
        records = [record for told in newest if (record := parse_line(told, self._recent.process)) is not None]
        return Changes(sorted(records, key=newest_first), total, *self._recent.in_flight_count())


class JournalFeed:
    """Tells what has changed in a directory's journal."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self._directory = reader.directory
        self._places: dict[str, _Place] = {}
        """The files that were there, and how far each was read."""
        self._look(at_first=True)

    def poll(self) -> Changes:
        """Return what has changed; raises ``OSError``."""
        if not self._reader.is_there:
            return Changes([], 0, 0, 0)
        new = self._look()
        total = sum(len(lines) - b"".join(lines).count(RETURNED_ENDS) for _, lines in new)
        most = shown(total)
        told = ((line.rpartition(b"\0")[2], process) for process, lines in new for line in reversed(lines[-most:]))
        records = sorted((found for each in told if (found := parse_line(*each)) is not None), key=newest_first)
        return Changes(records[:most], total, *history.in_flight_count(self._directory))

    def _look(self, *, at_first: bool = False) -> list[tuple[str, list[bytes]]]:
        """Return the lines that are new, by process."""
        if not self._reader.is_there:
            return []
        found = layout.listing(self._directory)
        living = set(found.live)
        new: list[tuple[str, list[bytes]]] = []
        places: dict[str, _Place] = {}
        for process, names in found.segments.items():
            for name in names:
                place = places[name] = self._places.get(name) or _Place()
                is_complete = process not in living or name in names[:-_STILL_WRITTEN]
                if not place.closed and not (at_first and is_complete):
                    new.append((process, place.new_lines(os.path.join(self._directory, name))))
                place.closed = is_complete
        self._places = places
        return new


_STILL_WRITTEN: Final = 3
"""A process's last files that may get more lines: one that is full, its successor, and what others add as lost."""


class _Place:
    """How far a file was read."""

    def __init__(self) -> None:
        self.closed = False
        """Nothing more is written to it."""
        self._end = 0
        self._known: set[int] = set()
        """Where lines end that were told, behind the place where reading begins the next time."""

    def new_lines(self, path: str) -> list[bytes]:
        """Return the lines that were not there before, in their order. Where one was torn, zeros come before it.

        Nothing is called for each line: a thousand come in a second.
        """
        start = max(0, self._end - _OVERLAP)
        data = b""
        with contextlib.suppress(OSError):
            data = b"".join(_written(path, start))
        written = data.rfind(b"\n") + 1
        seen = self._end - start
        if written < seen:  # it could not be read
            return []
        before = _lines(data[:seen])
        told = [line for line, end in zip(before, _ends(before, start), strict=True) if end not in self._known]
        told += _lines(data[seen:written])
        self._end = start + written
        again = max(0, written - _OVERLAP)
        self._known = set(_ends(_lines(data[again:written]), start + again))
        return told


def _lines(data: bytes) -> list[bytes]:
    """Return whole lines, each with its line feed. To split them would look at every byte by itself."""
    return BytesIO(data).readlines()


def _ends(lines: list[bytes], start: int) -> list[int]:
    """Return where lines end that begin at a place."""
    return list(accumulate(map(len, lines), initial=start))[1:]


def _written(path: str, start: int) -> Iterator[bytes]:
    """Yield what is in a file from a place on, as far as something is written."""
    descriptor = files.open_ours(path)
    try:
        while chunk := files.read_open(descriptor, start, _CHUNK):
            yield chunk
            start += len(chunk)
            if len(chunk) < _CHUNK or chunk.endswith(_NOTHING):
                return
    finally:
        os.close(descriptor)
