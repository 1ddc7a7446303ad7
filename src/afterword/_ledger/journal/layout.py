"""The bytes on disk: names of files, the head of a process's file, its slots.

``ID.live`` holds what a process has in flight: a head, then slots. ``ID.NNNNNN.runs`` hold what has ended, a line
of JSON for each run, and ``ID.lost.runs`` what other processes found when this one was dead. An id is the time and
random bits: a pid comes back, and identifies nothing.
"""

from __future__ import annotations

import os
import re
import struct
import time
from random import SystemRandom
from typing import Final, NamedTuple

from ..._common.model import SENT

MAGIC: Final = b"AFTRWORD"
VERSION: Final = 2
"""Of the head and the slots. Before 2, a slot did not say whether its span is sampled."""
HEAD_SIZE: Final = 4096
SLOT_SIZE: Final = 1024
SEGMENT_SIZE: Final = 4 << 20

# --- the head: magic, version, slot size, id, pid, created, last sign of life, counted, off, machine, ending -----

_HEAD: Final = struct.Struct("<8sII20s4xI4xddBB6x40sd")
ALIVE_AT: Final = 56
COUNTED_AT: Final = 64
OFF_AT: Final = 65
ENDING_AT: Final = 112
SECONDS: Final = struct.Struct("<d")


class Head(NamedTuple):
    """The head of a process's file.

    Attributes:
        process: the id that the names of its files begin with.
        pid: what the system called it; only to be shown.
        created: when the file was made, in seconds since the epoch.
        alive: the last sign of life, in seconds since the epoch.
        counted: whether the metrics agree with what it left.
        off: whether it stopped keeping the journal, so that its slots say nothing.
        machine: the boot of the machine that it ran on.
        ending: when it was told to end, in seconds since the epoch; 0 if that was not seen.
    """

    process: str
    pid: int
    created: float
    alive: float
    counted: bool
    off: bool
    machine: str
    ending: float = 0.0

    def packed(self) -> bytes:
        """Return it as the first bytes of a file."""
        flags = int(self.counted), int(self.off)
        ids = self.process.encode(), self.pid, self.created, self.alive
        return _HEAD.pack(MAGIC, VERSION, SLOT_SIZE, *ids, *flags, self.machine.encode(), self.ending)


def parse_head(data: bytes) -> Head | str:
    """Return the head that a file begins with, or why it is none of ours."""
    if len(data) < HEAD_SIZE or data[: len(MAGIC)] != MAGIC:
        return "it was not written by Afterword"
    _, version, slot_size, process, pid, created, alive, counted, off, machine, ending = _HEAD.unpack_from(data)
    if (version, slot_size) != (VERSION, SLOT_SIZE):
        return f"it has version {version}, and this Afterword reads version {VERSION}"
    try:
        on = machine.rstrip(b"\0").decode()
        flags = {"counted": bool(counted), "off": bool(off)}
        return Head(process.decode(), pid, created, alive, machine=on, ending=ending, **flags)
    except UnicodeDecodeError:
        return "its head is damaged"


# --- a slot: state, started at, trace, span, sampled, and the text that the line of the run will begin with ------

FREE: Final = 0
PENDING: Final = 1
RUNNING: Final = 2
"""The first byte of a slot. It is written last: a slot that was being written is free."""

ACKNOWLEDGEMENT_AT: Final = 1
"""Where the slot of a queue's run says how far the acknowledgement of its message is."""
STARTED_AT: Final = 8
STARTED: Final = struct.Struct("<d32s16s?")
TEXT_AT: Final = STARTED_AT + STARTED.size
CAPACITY: Final = SLOT_SIZE - TEXT_AT
"""Bytes of text that a slot holds, with the line feed after it."""

LINE_FEED: Final = ord("\n")


class Slot(NamedTuple):
    """What a slot says of a run in flight."""

    running: bool
    started_at: float
    trace_id: str
    span_id: str
    sampled: bool
    text: bytes
    acknowledgement: int = SENT


def parse_slots(data: bytes) -> list[Slot]:
    """Return the slots in use. Those that make no sense are left out."""
    slots: list[Slot] = []
    for start in range(HEAD_SIZE, len(data) - SLOT_SIZE + 1, SLOT_SIZE):
        if data[start] != FREE:
            slot = _parse_slot(data[start : start + SLOT_SIZE])
            if slot is not None:
                slots.append(slot)
    return slots


def _parse_slot(data: bytes) -> Slot | None:
    end = data.find(b"\n", TEXT_AT)
    if data[0] not in (PENDING, RUNNING) or end < 0:
        return None
    text = data[TEXT_AT:end]
    if data[0] == PENDING:
        return Slot(False, 0.0, "", "", False, text)
    started_at, trace, span, sampled = STARTED.unpack_from(data, STARTED_AT)
    return Slot(True, started_at, _id(trace), _id(span), sampled, text, data[ACKNOWLEDGEMENT_AT])


def _id(field: bytes) -> str:
    """Return an id from the disk, where anything may stand, as text that needs no escapes."""
    text = field.rstrip(b"\0").decode("ascii", "replace")
    return text if text.isalnum() else ""


# --- the names of files -----------------------------------------------------------------------------------------

_LIVE: Final = re.compile(r"([0-9a-f]{20})\.live")
_SEGMENT: Final = re.compile(r"([0-9a-f]{20})\.(\d{6}|lost)\.runs")
_HIDDEN: Final = re.compile(r"\.[0-9a-f]{20}\.live")
_random: Final = SystemRandom()


def new_id() -> str:
    """Return an id for this process: 20 hexadecimal digits that sort by time."""
    return f"{int(time.time() * 1000):012x}{_random.getrandbits(32):08x}"


def live_file(process: str) -> str:
    """Return the name of the file with what a process has in flight."""
    return f"{process}.live"


def hidden_file(process: str) -> str:
    """Return the name of that file while it is being made."""
    return f".{process}.live"


def segment_file(process: str, number: int) -> str:
    """Return the name of a file with what has ended."""
    return f"{process}.{number:06}.runs"


def lost_file(process: str) -> str:
    """Return the name of the file with what others found of a dead process."""
    return f"{process}.lost.runs"


class Listing(NamedTuple):
    """The files of a directory, by the id of their process; everything that is not ours is left out."""

    live: list[str]
    segments: dict[str, list[str]]
    """Names of files, oldest first; what was lost comes last."""
    hidden: list[str]


def listing(directory: str) -> Listing:
    """Return the journal's files in a directory; raises ``OSError``."""
    found = Listing([], {}, [])
    for name in sorted(os.listdir(directory)):  # digits sort before letters
        if live := _LIVE.fullmatch(name):
            found.live.append(live[1])
        elif segment := _SEGMENT.fullmatch(name):
            found.segments.setdefault(segment[1], []).append(name)
        elif _HIDDEN.fullmatch(name):
            found.hidden.append(name)
    return found
