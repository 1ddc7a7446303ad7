"""Writes the runs of this process, in the order of their life. Nothing here lets another thread go first.

A line needs the slot's text only, and is there before anybody is told of the end. So whoever finds the files later
knows of each run whether it has ended, and whether that was told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._common import forks
from ..._common.model import TaskRun
from .layout import FREE, PENDING, RUNNING, STARTED, STARTED_AT, TEXT_AT
from .lines import TOLD_BY_OWNER, first_part, second_part
from .segments import Segments
from .slots import Slots

_Entry = list[Any]
"""A run that is written down: its slot, where the slot's text ends, and where its line says whether it was told.

A list, since it is changed; ``None`` where there is nothing."""


class Writer:
    """The files of this process. Its methods raise ``OSError`` if the disk is full."""

    def __init__(self, directory: str, make_room: Callable[[], None]) -> None:
        """Make the files; raises ``OSError``. ``make_room`` is called when it is time to; it must not wait."""
        self.off = False
        """Nothing more is written. Slots that are in use are still freed, which needs no disk."""
        self.slots = Slots(directory, make_room)
        try:
            self.segments = Segments(directory, self.slots.process, make_room)
        except BaseException:
            self.slots.abandon()
            raise
        self._entries: dict[TaskRun, _Entry] = {}

    def scheduled(self, run: TaskRun) -> None:
        """Write a run into a free slot."""
        if self.off:
            return
        text = first_part(run)
        slot = self.slots.take()
        mapping, at = slot
        start = at + TEXT_AT
        end = start + len(text)
        mapping[start:end] = text
        mapping[at] = PENDING  # last, so that a slot that was being written is free
        self._entries[run] = [slot, end - 1, None]

    def started(self, run: TaskRun) -> None:
        """Note in its slot that a run has started, and its span."""
        entry = self._entries.get(run)
        if entry is not None:
            mapping, at = entry[0]
            trace, span = run.trace_id or "", run.span_id or ""
            STARTED.pack_into(mapping, at + STARTED_AT, run.started_at, trace.encode(), span.encode())
            mapping[at] = RUNNING

    def ended(self, run: TaskRun) -> None:
        """Write the line of a run that has ended."""
        if self.off:
            return
        entry = self._entries.get(run)
        if entry is None:  # it was scheduled before there was a journal
            entry = self._entries[run] = [None, 0, None]
            first = first_part(run)[:-1]
        else:
            mapping, at = entry[0]
            first = mapping[at + TEXT_AT : entry[1]]
        entry[2] = self.segments.append(first + second_part(run))

    def told(self, run: TaskRun) -> None:
        """Note that everybody was told of a run's end, and free its slot."""
        entry = self._entries.pop(run, None)
        if entry is None:
            return
        slot, _, place = entry
        if place is not None:
            mapping, at = place
            mapping[at] = TOLD_BY_OWNER
        if slot is not None:
            mapping, at = slot
            mapping[at] = FREE
            self.slots.free.append(slot)

    def make_room(self) -> bool:
        """Make room ahead if it is time to; return whether that made a file. Raises ``OSError``."""
        self.slots.grow()
        return self.segments.make_ahead()

    def leave_to_parent(self) -> None:
        """In a forked child, keep alive what the parent was writing."""
        forks.leave_to_parent(self._entries)
