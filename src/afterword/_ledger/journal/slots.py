"""What a process has in flight: a slot of memory for each run, mapped to the process's file."""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Callable
from typing import Final

from ..._common import forks
from . import files, holding, layout
from .locking import MACHINE

Slot = tuple[mmap.mmap, int]
"""A part of the file, and where in it the slot begins."""

FIRST_SIZE: Final = 256 << 10
MOST_AT_ONCE: Final = 16 << 20
"""The file doubles, but never grows by more than this."""
_RESERVE: Final = 64
"""So many slots are kept until the others are used up, and more are being made."""

_growing = forks.lock()


class Slots:
    """The file ``ID.live`` of this process."""

    def __init__(self, directory: str, make_room: Callable[[], None]) -> None:
        """Make the file; raises ``OSError``. ``make_room`` is called when few slots are left."""
        self._make_room = make_room
        self.process = layout.new_id()
        self.path = os.path.join(directory, layout.live_file(self.process))
        now = time.time()
        head = layout.Head(self.process, os.getpid(), now, now, counted=False, off=False, machine=MACHINE)
        hidden = os.path.join(directory, layout.hidden_file(self.process))
        self._descriptor = holding.publish(hidden, self.path, self.process, FIRST_SIZE, head.packed())
        self._size = 0
        self.free: list[Slot] = []
        """The last one is used next: its page is likely to be in memory. ``pop`` and ``append`` are atomic."""
        self._reserve: list[Slot] = []
        """Used when ``free`` is empty, while the thread makes more."""
        try:
            self._head = self._map(FIRST_SIZE)
        except BaseException:
            self.abandon()
            raise

    def _map(self, size: int) -> mmap.mmap:
        """Map what was added to the file. Nothing is ever unmapped: that would drop the lock."""
        mapping = files.map_file(self._descriptor, size, self._size)
        first = 0 if self._size else layout.HEAD_SIZE
        self._size += size
        made = [(mapping, start) for start in range(size - layout.SLOT_SIZE, first - 1, -layout.SLOT_SIZE)]
        kept = 0 if self._reserve else min(_RESERVE, len(made) // 2)
        self._reserve += made[:kept]
        self.free += made[kept:]
        return mapping

    def take(self) -> Slot:
        """Return a slot although none is free; raises ``OSError`` if there is no room for more."""
        while True:
            for slots in (self._reserve, self.free):
                with contextlib.suppress(IndexError):
                    slot = slots.pop()
                    self._make_room()
                    return slot
            self.grow()

    def grow(self) -> None:
        """Make more slots unless some are free; raises ``OSError``."""
        with _growing:
            if not self.free:
                size = min(self._size, MOST_AT_ONCE)
                files.allocate(self._descriptor, self._size, size)
                self._map(size)

    def sign_of_life(self) -> None:
        """Say that this process lives; raises ``OSError`` if its file is removed or locked by another one."""
        layout.SECONDS.pack_into(self._head, layout.ALIVE_AT, time.time())
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(f"{self.path} was removed")
        if not holding.still_locked(self._descriptor):
            raise PermissionError(f"{self.path} was taken by another process")

    def say_off(self) -> None:
        """Say in the file that its slots say nothing any more. Needs no room on the disk."""
        self._head[layout.OFF_AT] = 1

    def say_ending(self) -> None:
        """Say in the file that this process has been told to end, and that it lives."""
        now = time.time()
        layout.SECONDS.pack_into(self._head, layout.ENDING_AT, now)
        layout.SECONDS.pack_into(self._head, layout.ALIVE_AT, now)

    def release(self) -> None:
        """Let go of the file, as if this process were dead."""
        holding.release(self.process)

    def abandon(self) -> None:
        """Take a file away that nothing was written to."""
        files.remove(self.path)
        holding.release(self.process)
