"""How much history is kept. The oldest files are deleted: those of the dead by anybody, others by their owner."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from . import files, layout, lines
from .records import length_of_lines

_HIDDEN_SECONDS: Final = 3600.0
"""A file that was being made so long ago is nobody's."""
_ENDED: Final = re.compile(rf'"{lines.ENDED}":(\d{{1,17}})'.encode())
_TAIL: Final = 1 << 17


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much history is kept at least and at most.

    Attributes:
        runs: as many runs are kept, and older files are deleted: up to 4 MiB more, since files go as a whole.
        seconds: what has ended longer ago is deleted.
        size: bytes that the files of the history take at most, apart from those that are being written.
    """

    runs: int = 10_000
    seconds: float = 24 * 3600.0
    size: int = 64 << 20


class _File(NamedTuple):
    ended_at: float
    """When the newest of its runs ended."""
    name: str
    process: str
    runs: int
    size: int
    all_told: bool


class Retention:
    """Deletes what is beyond the limits in one directory."""

    def __init__(self, directory: str, limits: Limits) -> None:
        self._directory = directory
        self.limits = limits
        self._known: dict[str, tuple[tuple[int, int], _File]] = {}
        """What was found in files that nobody writes to any more, by size and time, so that each is read once."""

    def apply(self, own: str | None = None, in_use: Collection[str] = ()) -> list[str]:
        """Delete what is too much; return the names of the deleted files. Raises ``OSError``.

        Only a living process knows which of its files it has finished: it deletes those itself, as ``own`` without
        those ``in_use``.
        """
        found = layout.listing(self._directory)
        self._delete_hidden(found.hidden)
        history = sorted(
            file
            for process, names in found.segments.items()
            for name in names
            if (file := self._look(process, name)) is not None
        )
        self._known = {file.name: self._known[file.name] for file in history if file.name in self._known}
        runs, size, oldest = sum(file.runs for file in history), sum(file.size for file in history), self._oldest()
        deleted: list[str] = []
        for file in history:
            too_much = (
                runs - file.runs >= self.limits.runs or size > self.limits.size or 0 < file.ended_at < oldest
            )
            if too_much and self._may_go(file, own, in_use) and files.remove(self._path(file.name)):
                deleted.append(file.name)
                runs, size = runs - file.runs, size - file.size
        return deleted

    def _oldest(self) -> float:
        return time.time() - self.limits.seconds

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _may_go(self, file: _File, own: str | None, in_use: Collection[str]) -> bool:
        if file.process == own:
            return file.name not in in_use and file.all_told
        return not self._is_open(file.process)

    def _is_open(self, process: str) -> bool:
        # asked anew: a listing may lack it, though it is there before any of its segments
        return os.path.lexists(self._path(layout.live_file(process)))

    def _look(self, process: str, name: str) -> _File | None:
        try:
            status = os.lstat(self._path(name))
            version = status.st_size, status.st_mtime_ns
            known = self._known.get(name)
            if known is not None and known[0] == version:
                return known[1]
            data = files.read(self._path(name))
        except OSError:  # deleted meanwhile, or none of ours
            return None
        tail = data[max(0, length_of_lines(data) - _TAIL) : length_of_lines(data)]
        ended = [int(found) for found in _ENDED.findall(tail)]
        newest = max(ended, default=0) / 1e6
        file = _File(newest, name, process, data.count(b"\n"), status.st_size, lines.LINE_BEGINS not in data)
        if not self._is_open(process):
            self._known[name] = version, file
        return file

    def _delete_hidden(self, hidden: Collection[str]) -> None:
        for name in hidden:
            with contextlib.suppress(OSError):
                if os.lstat(self._path(name)).st_mtime < time.time() - _HIDDEN_SECONDS:
                    files.remove(self._path(name))
