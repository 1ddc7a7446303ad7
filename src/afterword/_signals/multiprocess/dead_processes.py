"""Closes the accounts of dead worker processes: their open runs are counted as lost.

The files of a process outlive it. Closing its account keeps its counters, removes its gauges, and counts its
open runs (scheduled and not ended) as lost. Both numbers are in one file, and the lost runs are written to another
file, completely or not at all. So the result is the same whenever the process was killed, and however many
processes close its account at once.
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
from .directory import log_once
from .shared_file import COUNTER, LIVE_MAX, LIVE_SUM, TOTAL, SharedFile, file_of, key_of, lost_file_of
from .shared_file import owner_of_live_file as owner_of


def close_dead_accounts(path: str, files: Iterable[str]) -> bool:
    """Close the accounts of all dead processes; return whether there were any."""
    pids = {pid for file in files if (pid := owner_of(file)) is not None and not _is_alive(pid)}
    closed = [close_account(path, pid) for pid in sorted(pids)]
    return any(closed)


def close_account(path: str, pid: int) -> bool:
    """Remove a dead process's gauges and count its open runs as lost; return whether that succeeded."""
    closed = close_own_account(path, pid)
    if closed:
        with contextlib.suppress(OSError):  # another process may remove the same files now
            mark_process_dead(pid, path)
    return closed


def close_own_account(path: str, pid: int) -> bool:
    """Close only our own files; a new process with that pid may use those of prometheus_client."""
    counters = os.path.join(path, file_of(COUNTER, pid))
    try:
        lost = _held(counters)
    except Exception as fault:  # noqa: BLE001  the file may be damaged in any way
        log_once(f"{counters} cannot be read, so no run of process {pid} is counted as lost: {fault!r}")
        lost = Counter()
    try:
        _write_lost(path, pid, lost)
    except OSError as fault:
        log_once(f"no room in {path}, so the account of the dead process {pid} stays open: {fault}")
        return False
    if _removed(path, pid):  # only the process that removed them logs it
        for name, count in sorted(lost.items()):
            detail = f"process {pid} died before they ended; if a task must survive that, use a queue"
            keys = {semconv.KEY_TASK: name, semconv.KEY_COUNT: count, semconv.KEY_DETAIL: detail}
            emit("warning", semconv.EVENT_LOST, keys)
    return True


def _held(counters: str) -> Counter[str]:
    """Return how many runs of each task were open when the process died."""
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
    """Write the lost runs of a dead process atomically. Writing them twice gives the same file."""
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
    """Remove the gauges of a dead process; return whether this call removed them."""
    there = False
    for kind in (LIVE_MAX, LIVE_SUM):  # the last file decides which process was first
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
    except (PermissionError, OverflowError):  # another user's process, so it is alive; or not a valid pid
        return True
    return True
