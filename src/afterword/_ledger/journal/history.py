"""Reads a directory's journal: what has ended, newest first, and what is in flight now. It only reads.

It locks nothing, closes nobody's account and counts nothing. Files that vanish meanwhile are left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from json.encoder import encode_basestring as _quoted
from typing import Final, NamedTuple

from ..._common import semconv
from ..._common.model import STARLETTE
from . import files, holding, layout, lines
from .locking import MACHINE
from .records import Record, ended_among, is_whole, parse_line, parse_slot, whole_lines

_BEGINNING: Final = 128 << 10
"""Bytes that the first line of a file is in."""
_DISORDER_SECONDS: Final = 60.0
"""A process's lines are in the order of their ends, but for threads and for clocks that are set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which runs are wanted; by default all.

    Attributes:
        outcomes: ended in one of these; ``lost`` is one.
        task: of the task with this name.
        named: of the task that is called this, by its name or by the last parts of it: ``send_mail``.
        route: of requests to this route.
        trace: in this trace, or scheduled in it.
        run: with this id.
        began: of the request that began at this moment, in seconds since the epoch.
        reason: for this reason.
        error_type: with an error of this type.
        engine: that this engine runs.
        attempts: also attempts that did not end their task.
        since: ended since then, in seconds since the epoch; of those in flight, all.
        until: ended by then; of those in flight, all.
    """

    outcomes: Collection[str] = ()
    task: str | None = None
    named: str | None = None
    route: str | None = None
    trace: str | None = None
    run: str | None = None
    began: float | None = None
    reason: str | None = None
    error_type: str | None = None
    engine: str | None = None
    attempts: bool = False
    since: float | None = None
    until: float | None = None

    def wants(self, record: Record) -> bool:
        """Return whether a run is wanted."""
        return (
            (not self.outcomes or record.outcome in self.outcomes)
            and self.task in (None, record.task)
            and (self.named is None or f".{record.task}".endswith(f".{self.named}"))
            and self.route in (None, record.route)
            and self.trace in (None, record.trace_id, record.parent_trace_id)
            and self.run in (None, record.run)
            and self.began in (None, record.began_at)
            and self.reason in (None, record.reason)
            and self.error_type in (None, record.error_type)
            and self.engine in (None, record.engine)
            and (self.since is None or record.ended_at is None or record.ended_at >= self.since)
            and (self.until is None or record.ended_at is None or record.ended_at <= self.until)
        )

    def needles(self) -> list[bytes]:
        """Return bytes of which a wanted line has one; the rarest that can be told. None: any line may be."""
        if self.run or self.trace:
            return [(self.run or self.trace or "").encode(*lines.ENCODING)]
        if self.began is not None:
            return [b'"%s":%d,' % (lines.BEGAN.encode(), round(self.began * 1e6))]
        if self.task is not None:
            return [_pair(semconv.KEY_TASK, self.task)]
        if self.error_type is not None:
            return [_pair(semconv.KEY_ERROR_TYPE, self.error_type)]
        if self.reason is not None:
            return [_pair(semconv.KEY_REASON, self.reason)]
        if self.named is not None:
            return [f"{_quoted(self.named)[1:]},".encode(*lines.ENCODING)]
        if self.route is not None:
            return [_pair(semconv.KEY_ROUTE, self.route)]
        if self.engine not in (None, STARLETTE):
            return [_pair(lines.ENGINE, self.engine or "")]
        return [_pair(lines.OUTCOME, outcome) for outcome in self.outcomes]


def _pair(key: str, value: str) -> bytes:
    # quotation marks inside of a value are escaped, so this is found nowhere but in its place
    return f'"{key}":{_quoted(value)}'.encode(*lines.ENCODING)


def ended(directory: str, wanted: Filter = Filter()) -> Iterator[Record]:
    """Yield the runs that have ended, newest first; raises ``OSError`` if the directory cannot be read."""
    found = layout.listing(directory)
    streams = [
        _of_files(directory, process, names, wanted)
        for process, all_names in found.segments.items()
        for names in _streams(process, all_names)
    ]
    return merge(*streams, key=_newest_first)


def oldest(directory: str) -> float | None:
    """Return when the first run ended of those that are still there; raises ``OSError`` like ``ended``."""
    firsts: list[float] = []
    for process, names in layout.listing(directory).segments.items():
        data = _data(directory, names[0], _BEGINNING)
        firsts += [record.ended_at or 0.0 for record in _first(data, process)]
    return min(firsts, default=None)


def _first(data: bytes, process: str) -> Iterator[Record]:
    records = (parse_line(line, process) for _, line in whole_lines(data))
    return islice((record for record in records if record is not None), 1)


def _newest_first(record: Record) -> float:
    return -(record.ended_at or 0.0)


def _streams(process: str, names: list[str]) -> list[list[str]]:
    """Return a process's files in lists that are each in the order of time: others wrote down what was lost."""
    lost = layout.lost_file(process)
    return [[name for name in names if name != lost], [name for name in names if name == lost]]


def _of_files(directory: str, process: str, names: list[str], wanted: Filter) -> Iterator[Record]:
    needles = wanted.needles()
    found = (line for name in reversed(names) for line in _last_first(_data(directory, name), needles))
    return among(found, process, wanted)


def _data(directory: str, name: str, size: int | None = None) -> bytes:
    with contextlib.suppress(OSError):
        return files.read(os.path.join(directory, name), size)
    return b""


def among(found: Iterable[bytes], process: str, wanted: Filter) -> Iterator[Record]:
    """Yield the wanted runs among a process's lines, which come newest first, and of which others are left out."""
    enough = None if wanted.since is None else wanted.since - _DISORDER_SECONDS
    for line in found:
        record = parse_line(line, process, attempts=wanted.attempts)
        if record is None:
            continue
        if enough is not None and (record.ended_at or 0.0) < enough:
            return
        if wanted.wants(record):
            yield record


def _last_first(data: bytes, needles: list[bytes]) -> Iterator[bytes]:
    """Yield the whole lines that have one of the needles, the last one first."""
    for end in reversed(_ends_with(data, needles)) if needles else _ends(data):
        begin = data.rfind(b"\n", 0, end) + 1
        begin = max(begin, data.rfind(b"\0", begin, end) + 1)  # a line that was torn ends in zeros
        if is_whole(data, begin, end):
            yield data[begin:end]


def _ends(data: bytes) -> Iterator[int]:
    end = len(data)
    while (end := data.rfind(b"\n", 0, end)) >= 0:
        yield end


def _ends_with(data: bytes, needles: list[bytes]) -> list[int]:
    """Return where the lines end that have one of the needles. ``find`` is faster than ``rfind``."""
    ends: set[int] = set()
    for needle in needles:
        end = 0
        while (found := data.find(needle, end)) >= 0 and (end := data.find(b"\n", found)) >= 0:
            ends.add(end)
    return sorted(ends)


class Process(NamedTuple):
    """A process whose account is open.

    Attributes:
        process: its id in the journal.
        pid: what the system calls it.
        alive: whether it lives; ``None`` if nobody knows.
        seen_at: its last sign of life, in seconds since the epoch.
    """

    process: str
    pid: int
    alive: bool | None
    seen_at: float


def processes(directory: str) -> list[Process]:
    """Return the processes whose accounts are open, oldest first; raises ``OSError``."""
    found: list[Process] = []
    for process in layout.listing(directory).live:
        with contextlib.suppress(OSError):
            [data], alive = holding.look(os.path.join(directory, layout.live_file(process)), process, times=1)
            head = layout.parse_head(data)
            if not isinstance(head, str):
                found.append(Process(process, head.pid, alive, head.alive))
    return found


def pids(directory: str) -> set[int]:
    """Return the pids of this machine's processes whose accounts are open, the living and the dead."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for process in layout.listing(directory).live:
            with contextlib.suppress(OSError):
                head = layout.parse_head(holding.head(os.path.join(directory, layout.live_file(process)), process))
                if not isinstance(head, str) and head.machine == MACHINE:
                    found.add(head.pid)
    return found


def in_flight_count(directory: str) -> tuple[int, int]:
    """Return how many runs are pending and how many are running, without looking at them closely.

    Raises ``OSError`` if the directory cannot be read.
    """
    pending = running = 0
    for process in layout.listing(directory).live:
        with contextlib.suppress(OSError):
            [data], alive = holding.look(os.path.join(directory, layout.live_file(process)), process, times=1)
            head = layout.parse_head(data)
            if alive is not False and not isinstance(head, str) and not head.off:
                states = data[layout.HEAD_SIZE :: layout.SLOT_SIZE]
                pending += states.count(layout.PENDING)
                running += states.count(layout.RUNNING)
    return pending, running


def in_flight(directory: str, wanted: Filter = Filter()) -> list[Record]:
    """Return the runs that are in flight now, and those that were in processes that died; oldest first.

    Runs that change at this moment may be left out. Raises ``OSError`` if the directory cannot be read.
    """
    found = layout.listing(directory)
    records: list[Record] = []
    for process in found.live:
        with contextlib.suppress(OSError):
            path = os.path.join(directory, layout.live_file(process))
            [before, after], alive = holding.look(path, process, times=2)
            head = layout.parse_head(after)
            if isinstance(head, str) or head.off:
                continue
            stable = {slot.text for slot in layout.parse_slots(before)}
            slots = [slot for slot in layout.parse_slots(after) if slot.text in stable]
            here = {
                record.run: record
                for slot in slots
                if (record := parse_slot(slot, process, head.pid, alive)) is not None
                and wanted.wants(record)
                and not (record.comes_again and alive is False)  # the broker has it again
            }
            _leave_out_ended(directory, process, found.segments.get(process, []), here)
            for record in here.values():
                record.seen_at = head.alive
            records += here.values()
    return sorted(records, key=lambda record: record.scheduled_at)


def _leave_out_ended(directory: str, process: str, names: list[str], here: dict[str, Record]) -> None:
    """Leave out the runs that have their end in a segment; those that are older than all of them are not read."""
    first = min((record.scheduled_at for record in here.values()), default=0.0) - _DISORDER_SECONDS
    for name in reversed(names):
        if not here:
            return
        data = files.read(os.path.join(directory, name))
        for run in ended_among(data, here, process):
            del here[run]
        if any((record.ended_at or 0.0) < first for record in _first(data, process)):
            return
