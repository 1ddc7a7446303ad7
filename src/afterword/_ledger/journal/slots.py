"""What a process has in flight: a slot of memory for each run, mapped to the process's file."""

from __future__ import annotations

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
_SLOTS_LEFT: Final = 64
"""With so few left, more are made ahead."""

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
        self.free += [(mapping, start) for start in range(size - layout.SLOT_SIZE, first - 1, -layout.SLOT_SIZE)]
        return mapping

    def take(self) -> Slot:
        """Return a free slot; raises ``OSError`` if there is none and no room for more."""
        free = self.free
        while True:
            try:
                slot = free.pop()
            except IndexError:
                self.grow(at_least=1)
            else:
                if len(free) == _SLOTS_LEFT:
                    self._make_room()
                return slot

    def grow(self, at_least: int = _SLOTS_LEFT + 1) -> None:
        """Make more slots unless so many are free; raises ``OSError``."""
        with _growing:
            if len(self.free) < at_least:
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

    def release(self) -> None:
        """Let go of the file, as if this process were dead."""
        holding.release(self.process)

    def abandon(self) -> None:
        """Take a file away that nothing was written to."""
        files.remove(self.path)
        holding.release(self.process)
