"""Closes the accounts of the dead: tells the ends that were not told, and what was lost. Each exactly once.

The lock on ``ID.live`` makes one claimer at a time. Whatever it has done is in the files; if it dies, the next one
begins anew and does what is left. What can happen twice is the telling, never the end: a run has one line.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ..._common import forks
from ..._common.faults import EXITS, contained
from ..._common.log import log_fault
from ..._common.model import RETURNED
from . import files, holding, layout, lines
from .layout import Head
from .locking import MACHINE
from .records import Record, ended_among, length_of_lines, parse_line, parse_slot, whole_lines

_OTHER_MACHINE_SECONDS: Final = 180.0
"""A lock of another machine may not be seen here. So long after its last sign of life, a process is dead."""

_turn = threading.Lock()  # one thread at a time; a lock on a file does not tell threads apart


def _forget() -> None:
    global _turn
    _turn = threading.Lock()


forks.in_child(_forget)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadProcess:
    """What a dead process left behind, whoever told it.

    Attributes:
        process: its id in the journal.
        pid: its pid, which another process may have by now.
        off: whether it had stopped keeping the journal, so that nothing is known of its runs in flight.
        lost: the runs that were in flight.
        recovered: the runs whose end was written, but perhaps not counted.
        interrupted: the attempts that were in flight, and whose message comes again.
        returned: the attempts whose end was written, but perhaps not counted, and which did not end their task.
    """

    process: str
    pid: int
    off: bool
    lost: list[Record]
    recovered: list[Record]
    interrupted: list[Record] = field(default_factory=list)
    returned: list[Record] = field(default_factory=list)


class Teller(Protocol):
    """What the journal tells of the dead. An error in it is logged, and the rest is told."""

    def tell(self, record: Record, /) -> None:
        """Tell a run's end. ``record.recovered``: its line was there, so it may have been told before."""

    def count(self, dead: DeadProcess, /) -> None:
        """Make the metrics agree. Called once for each process, unless the claimer dies while it counts."""

    def count_fault(self) -> None:
        """Count an error of the journal's own, which is logged already."""


ComesAgain = Callable[[Record], bool]
"""Whether the message of a run that had begun is still the broker's, though it was being acknowledged."""


def recover(directory: str, teller: Teller, comes_again: ComesAgain = lambda run: False) -> list[DeadProcess]:
    """Close the accounts of all dead processes, and return them; raises ``OSError`` if there is no directory.

    A file that is damaged or none of ours is left alone, and logged and counted once.
    """
    with _turn:
        closed: list[DeadProcess] = []
        for process in layout.listing(directory).live:
            path = os.path.join(directory, layout.live_file(process))
            try:
                descriptor = holding.claim(path, process)
            except FileNotFoundError:  # another was faster
                continue
            except OSError as fault:
                _say_once(teller, f"closing the account in {path}", fault)
                continue
            if descriptor is not None:
                try:
                    dead = _Claim(directory, process, descriptor, teller, comes_again).close()
                except OSError as fault:
                    _say_once(teller, f"closing the account in {path}", fault)
                else:
                    closed += [dead] if dead is not None else []
                finally:
                    holding.release(process)
        return closed


_said: set[str] = set()


def _say_once(teller: Teller, what: str, fault: BaseException) -> None:
    if what not in _said:
        _said.add(what)
        log_fault(f"{what} failed; this is logged once", fault)
        with contained():
            teller.count_fault()


class _Claim:
    """The account of one dead process, whose lock this process has."""

    def __init__(
        self, directory: str, process: str, descriptor: int, teller: Teller, comes_again: ComesAgain
    ) -> None:
        self.directory = directory
        self.process = process
        self.descriptor = descriptor
        self.teller = teller
        self.comes_again = comes_again

    def close(self) -> DeadProcess | None:
        """Tell and count what there is, and remove the file; ``None`` if its process may live elsewhere."""
        data = files.read_open(self.descriptor)
        head = layout.parse_head(data)
        if isinstance(head, str):
            raise files.NotOurs(head)
        if head.machine != MACHINE and head.alive > time.time() - _OTHER_MACHINE_SECONDS:
            return None
        slots, in_flight = ({}, {}) if head.off else self._in_flight(head, data)
        recovered, ended = self._tell_ended(in_flight)
        known = ended.keys() | self._found_before(in_flight).keys()
        left = [self._line_of(slot, in_flight[run], head) for run, slot in slots.items() if run not in known]
        lost = self._tell_lost(b"".join(left))
        dead = DeadProcess(
            process=self.process,
            pid=head.pid,
            off=head.off,
            lost=lost,
            recovered=recovered,
            interrupted=[each for each in self._found_before(in_flight).values() if each.outcome == RETURNED],
            returned=[each for each in ended.values() if each.outcome == RETURNED],
        )
        if not head.counted:
            self._safely(self.teller.count, dead)
            files.write_at(self.descriptor, b"\1", layout.COUNTED_AT)
        for name in self._segments():
            self._cut(self._path(name))
        holding.remove(self._path(layout.live_file(self.process)), self.process)
        return dead

    def _in_flight(self, head: Head, data: bytes) -> tuple[dict[str, layout.Slot], dict[str, Record]]:
        slots: dict[str, layout.Slot] = {}
        records: dict[str, Record] = {}
        for slot in layout.parse_slots(data):
            record = parse_slot(slot, self.process, head.pid, alive=False)
            if record is not None:
                slots[record.run], records[record.run] = slot, record
        return slots, records

    def _tell_ended(self, in_flight: Mapping[str, Record]) -> tuple[list[Record], dict[str, Record]]:
        """Tell the ends that were not told; return all of them, and the ends of those in flight."""
        recovered: list[Record] = []
        ended: dict[str, Record] = {}
        for name in self._segments():
            with _opened(self._path(name)) as descriptor:
                data = files.read_open(descriptor)
                recovered += self._tell_untold(descriptor, data)
                ended |= ended_among(data, in_flight, self.process)
        return recovered, ended

    def _found_before(self, in_flight: Mapping[str, Record]) -> dict[str, Record]:
        """Return what was written of those in flight, by this claimer or by one that died."""
        try:
            return ended_among(files.read(self._lost_path), in_flight, self.process)
        except FileNotFoundError:
            return {}

    def _line_of(self, slot: layout.Slot, run: Record, head: Head) -> bytes:
        """Return the line of a run that nobody else has ended: it is lost, or its message comes again."""
        comes_again = run.comes_again or (run.in_doubt and self.comes_again(run))
        if comes_again:
            return lines.interrupted_line(slot, head.pid, time.time())
        shutdown = max(0.0, head.alive - head.ending) if 0 < head.ending < math.inf else None
        return lines.lost_line(slot, head.pid, time.time(), shutdown)

    def _tell_lost(self, left: bytes) -> list[Record]:
        """Write and tell what was lost; return it with what another claimer has written."""
        if not left and not os.path.lexists(self._lost_path):
            return []
        with _opened(self._lost_path, os.O_CREAT) as descriptor:
            data = files.read_open(descriptor)
            known = self._tell_untold(descriptor, data)
            if data and not data.endswith(b"\n"):
                left = b"\n" + left  # a claimer that died has torn its last line
            files.write_at(descriptor, left, len(data))
            return known + self._tell_untold(descriptor, left, len(data), again=False)

    def _tell_untold(self, descriptor: int, data: bytes, offset: int = 0, *, again: bool = True) -> list[Record]:
        """Tell what was not told; return it with what another claimer has told."""
        found: list[Record] = []
        for start, line in whole_lines(data):
            told = line[lines.TOLD_AT]
            record = parse_line(line, self.process) if told != lines.TOLD_BY_OWNER else None
            if record is not None:
                record.recovered = again
                found.append(record)
                if told == lines.UNTOLD:
                    self._safely(self.teller.tell, record)
                    files.write_at(descriptor, bytes([lines.TOLD_BY_FINDER]), offset + start + lines.TOLD_AT)
        return found

    def _safely(self, action: Callable[[Any], None], what: Any) -> None:
        try:
            action(what)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001  what cannot be told to somebody is told to the others
            _say_once(self.teller, "telling what a dead process left", fault)

    def _segments(self) -> list[str]:
        names = layout.listing(self.directory).segments.get(self.process, [])
        return [name for name in names if name != layout.lost_file(self.process)]

    def _path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    @property
    def _lost_path(self) -> str:
        return self._path(layout.lost_file(self.process))

    @staticmethod
    def _cut(path: str) -> None:
        """Cut a file to what is written in it, or remove it if that is nothing."""
        with _opened(path) as descriptor:
            length = length_of_lines(files.read_open(descriptor))
            if length:
                os.ftruncate(descriptor, length)
        if not length:
            files.remove(path)


@contextlib.contextmanager
def _opened(path: str, flags: int = 0) -> Iterator[int]:
    descriptor = files.open_ours(path, os.O_RDWR | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
