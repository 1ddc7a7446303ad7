"""What has ended: lines in mapped memory, in files of 4 MiB. The next file is made ahead, by a thread."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from typing import Final

from ..._common import forks
from . import files
from .layout import SEGMENT_SIZE, segment_file
from .lines import TOLD_AT

Place = tuple[mmap.mmap, int]
"""Where a line says whether it was told."""

_HALF: Final = SEGMENT_SIZE // 2
_reserving = forks.lock()
_ONE_AT_A_TIME: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether threads take turns, and only where something is called or repeated: never within an addition."""
_changing = forks.lock()


class Segment:
    """One file, and how much of it is written or reserved."""

    __slots__ = ("limit", "mapping", "name", "used")

    def __init__(self, directory: str, name: str) -> None:
        """Make the file; raises ``OSError``."""
        self.name = name
        self.used = 0
        self.limit = min(_HALF, SEGMENT_SIZE)
        """Where something is to be done: the next file made, and when this one is full, used."""
        path = os.path.join(directory, name)
        descriptor = files.create(path, SEGMENT_SIZE)
        try:
            self.mapping = files.map_file(descriptor, SEGMENT_SIZE)
        except BaseException:
            files.remove(path)
            raise
        finally:
            os.close(descriptor)


class Segments:
    """The files ``ID.NNNNNN.runs`` of this process."""

    def __init__(self, directory: str, process: str, make_room: Callable[[], None]) -> None:
        """Make the first file; raises ``OSError``. ``make_room`` is called when it is half full."""
        self._make_room = make_room
        self._directory = directory
        self._process = process
        self._number = 0
        self._current = self._make()
        self._next: Segment | None = None

    def _make(self) -> Segment:
        segment = Segment(self._directory, segment_file(self._process, self._number))
        self._number += 1
        return segment

    @property
    def in_use(self) -> set[str]:
        """The names of the files that lines may still be written to."""
        following = self._next
        return {self._current.name, *([following.name] if following is not None else [])}

    def append(self, line: bytes) -> Place:
        """Write a line; return where it says whether it was told. Raises ``OSError`` if there is no room."""
        size = len(line)
        segment = self._current
        if _ONE_AT_A_TIME:
            segment.used = end = (start := segment.used) + size
        else:
            with _reserving:
                segment.used = end = (start := segment.used) + size
        if end > segment.limit:
            if end > SEGMENT_SIZE:
                self._turn_over(segment)
                return self.append(line)
            segment.limit = SEGMENT_SIZE
            self._make_room()
        mapping = segment.mapping
        mapping[start:end] = line
        return mapping, start + TOLD_AT

    def _turn_over(self, full: Segment) -> None:
        with _changing:
            if self._current is full:
                self._current, self._next = self._next or self._make(), None

    def make_ahead(self) -> bool:
        """Make the next file if it is time to; return whether it was. Raises ``OSError``."""
        with _changing:
            if self._next is not None or self._current.used <= _HALF:
                return False
            self._next = self._make()
            return True
