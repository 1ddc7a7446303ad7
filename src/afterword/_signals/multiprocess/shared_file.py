"""A file in which one worker among several counts, in prometheus_client's format, for all workers to read.

prometheus_client maps sparse files: on a full disk the first write to a hole kills the process (SIGBUS), and
nothing can catch that. Here every byte is written before it is mapped, so that a full disk is an ``OSError``. Only
we use these files. One case remains: a copy-on-write file system (btrfs, ZFS) may need new space to overwrite a
byte.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import threading
from collections.abc import Mapping
from typing import Any

from prometheus_client.mmap_dict import MmapedDict, mmap_key

from ..._common import semconv

LIVE_SUM, LIVE_MAX = "gauge_livesum", "gauge_livemax"
LEAST = "gauge_min"
"""Of this kind, the file outlives its process, as the counters' does."""
COUNTER, HISTOGRAM = "counter", "histogram"
KINDS = (LIVE_SUM, LIVE_MAX, COUNTER, HISTOGRAM, LEAST)
"""The kinds of files, in the order of their creation: a process with counters also has a gauge."""

TOTAL = "_total"
"""The suffix of a counter's series."""

_Untyped: Any = MmapedDict
_SUFFIX = ".afterword.db"
_LIVE_FILE = re.compile(r"gauge_live[a-z]+_(\d+)(?:\.afterword)?\.db$")
_PADDING = 8 + 4 + 2 * 8  # at most, around a key: its length, blanks, two doubles


def file_of(kind: str, pid: int) -> str:
    """Return the name of a process's file of one kind. prometheus_client's own files have no suffix."""
    return f"{kind}_{pid}{_SUFFIX}"


def lost_file_of(pid: int) -> str:
    """Return the name of the file with a dead process's lost runs, summed with the counters of all."""
    return f"{COUNTER}_{pid}.lost{_SUFFIX}"


def corrections_file_of(pid: int, process: str) -> str:
    """Return the name of the file with what a dead process's journal adds to its counters."""
    return f"{COUNTER}_{pid}.{process}{_SUFFIX}"


def is_corrections_file(file: str, pid: int) -> bool:
    """Return whether a file has what the journals of dead processes with this pid add."""
    return file.startswith(f"{COUNTER}_{pid}.") and file not in (file_of(COUNTER, pid), lost_file_of(pid))


def journal_mark_of(pid: int) -> str:
    """Return the name of the file that says of a process that it keeps a journal. No scrape reads it."""
    return f"journal_{pid}.db.mark"


def owner_of_live_file(file: str) -> int | None:
    """Return the pid of the process that a file of live gauges belongs to, prometheus_client's included."""
    found = _LIVE_FILE.match(file)
    return int(found[1]) if found is not None else None


def key_of(metric: semconv.Metric, suffix: str, labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Return the key of one series."""
    name = metric.prometheus
    return mmap_key(name, name + suffix, [*labels], [*values], metric.help)


class SharedFile(_Untyped):  # type: ignore[misc]
    """A file that is fully allocated before it is mapped; raises ``OSError`` if the disk is full."""

    def __init__(self, path: str) -> None:
        self.is_new = _make_room(path, mmap.PAGESIZE)
        super().__init__(path)

    def _init_value(self, key: str) -> None:
        needed = len(key.encode()) + _PADDING
        while self._used + needed > self._capacity:
            _append_zeros(self._f.fileno(), self._capacity)
            self._capacity *= 2
            self._m = mmap.mmap(self._f.fileno(), self._capacity)
        super()._init_value(key)


def write_at_once(path: str, values: Mapping[str, float]) -> None:
    """Write a file of counters completely or not at all; raises ``OSError``."""
    draft = f"{path}.{os.getpid()}-{threading.get_ident()}"
    try:
        file = SharedFile(draft)
        try:
            for key, value in values.items():
                file.write_value(key, value, 0.0)
        finally:
            file.close()
        os.replace(draft, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _make_room(path: str, size: int) -> bool:
    """Extend a file to at least ``size`` bytes; return whether it is new."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
    before = os.fstat(descriptor).st_size
    try:
        _append_zeros(descriptor, max(0, size - before))
    except OSError:
        if before == 0:
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    return before == 0


def _append_zeros(descriptor: int, count: int) -> None:
    """Append zeros to an open file, all of them or none."""
    before = os.fstat(descriptor).st_size
    zeros = memoryview(bytes(count))
    try:
        while zeros:
            zeros = zeros[os.write(descriptor, zeros) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
