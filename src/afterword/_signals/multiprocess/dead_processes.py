"""The accounts of dead worker processes are closed: what one held is counted as lost.

The files of a process outlive it. Its counters stay; its gauges, which say what it was doing, are taken away,
and what it had scheduled and not ended is counted as lost: that closes its account. Both numbers stand in one
file, and what is lost is written beside it, as a whole or not at all: so it comes to the same whenever the process
was killed, and however many come upon it at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

from ..._common import semconv
from ..._common.log import emit
from .directory import tell_once
from .shared_file import COUNTER, LIVE_MAX, LIVE_SUM, TOTAL, SharedFile, file_of, key_of, lost_file_of
from .shared_file import owner_of_live_file as owner_of


def close_dead_accounts(path: str, files: Iterable[str]) -> bool:
    """Close the accounts of all processes that are gone; return whether there were any to close."""
    pids = {pid for file in files if (pid := owner_of(file)) is not None and not _is_alive(pid)}
    closed = [close_account(path, pid) for pid in sorted(pids)]
    return any(closed)


def close_account(path: str, pid: int) -> bool:
    """Take a dead process's gauges away and count what it held as lost; return whether that could be done."""
    closed = close_own_account(path, pid)
    if closed:
        with contextlib.suppress(OSError):  # another process removes the same files just now
            mark_process_dead(pid, path)
    return closed


def close_own_account(path: str, pid: int) -> bool:
    """Do so for our own files; those of prometheus_client may be in use by a new process of that number."""
    counters = os.path.join(path, file_of(COUNTER, pid))
    try:
        lost = _held(counters)
    except Exception as fault:  # noqa: BLE001  whatever has become of that file
        tell_once(f"{counters} cannot be read, so what process {pid} held is not counted: {fault!r}")
        lost = Counter()
    try:
        _write_lost(path, pid, lost)
    except OSError as fault:
        tell_once(f"the account of the dead process {pid} stays open, since there is no room in {path}: {fault}")
        return False
    if _removed(path, pid):  # by us: whoever else came upon it says nothing
        for name, count in sorted(lost.items()):
            detail = f"process {pid} died with them; a task that must survive that belongs in a queue"
            keys = {semconv.KEY_TASK: name, semconv.KEY_COUNT: count, semconv.KEY_DETAIL: detail}
            emit("warning", semconv.EVENT_LOST, keys)
    return True


def _held(counters: str) -> Counter[str]:
    """Return how many runs of each task a process had scheduled and not ended when it died."""
    held: Counter[str] = Counter()
    if os.path.exists(counters):
        for key, value, *_ in MmapedDict.read_all_values_from_file(counters):
            metric, _, labels, _ = json.loads(key)
            if metric == semconv.SCHEDULED.prometheus:
                held[labels[semconv.SCHEDULED.labels[0]]] += int(value)
            elif metric == semconv.ENDED.prometheus:
                held[labels[semconv.ENDED.labels[0]]] -= int(value)
    return +held


def _write_lost(path: str, pid: int, lost: Counter[str]) -> None:
    """Write what a dead process held, as a whole; the same again if it is there already."""
    if not lost:
        return
    final = os.path.join(path, lost_file_of(pid))
    draft = f"{final}.{os.getpid()}-{threading.get_ident()}"
    try:
        file = SharedFile(draft)
        try:
            for name, count in lost.items():
                file.write_value(key_of(semconv.LOST, TOTAL, semconv.LOST.labels, (name,)), float(count), 0.0)
        finally:
            file.close()
        os.replace(draft, final)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _removed(path: str, pid: int) -> bool:
    """Remove the gauges of a dead process; return whether they were there until now."""
    there = False
    for kind in (LIVE_MAX, LIVE_SUM):  # the one that says who was first comes last
        try:
            os.remove(os.path.join(path, file_of(kind, pid)))
            there = True
        except FileNotFoundError:
            there = False
    return there


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's, so it is there; no number of a process at all
        return True
    return True
