"""The files of this process, and where in them each of its runs is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..._common import forks
from ..._common.model import TaskRun
from .segments import Segments
from .slots import Slots

Entry = list[Any]
"""A run that is written down: its slot, the slot's text, and where its line says whether it was told.

A list, since it is changed; ``None`` where there is nothing."""


class Writer:
    """What the journal's observers write to. Reading and changing it lets no other thread go first."""

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
        self.entries: dict[TaskRun, Entry] = {}
        """The runs that have not been told to the end, and where they are."""

    def make_room(self) -> bool:
        """Make room ahead if it is time to; return whether that made a file. Raises ``OSError``."""
        self.slots.grow()
        return self.segments.make_ahead()

    def leave_to_parent(self) -> None:
        """In a forked child, keep alive what the parent was writing."""
        forks.leave_to_parent(self.entries)
