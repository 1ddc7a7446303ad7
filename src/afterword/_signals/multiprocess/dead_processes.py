"""Closes the accounts of dead worker processes: their open runs are counted as lost.

The files of a process outlive it. Closing its account keeps its counters, removes its gauges, and counts its
open runs (scheduled and not ended) as lost. Both numbers are in one file, and the lost runs are written to another
file, completely or not at all. So the result is the same whenever the process was killed, and however many
processes close its account at once.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Collection, Iterable

from prometheus_client.multiprocess import mark_process_dead

from ..._common import semconv
from ..._common.log import emit
from ..._common.model import STARLETTE
from ..lost import DeadProcess
from .corrections import correct, correct_lost, open_runs
from .directory import log_once
from .shared_file import (
    COUNTER,
    LIVE_MAX,
    LIVE_SUM,
    TOTAL,
    file_of,
    journal_mark_of,
    key_of,
    lost_file_of,
    write_at_once,
)
from .shared_file import owner_of_live_file as owner_of


def close_dead_accounts(path: str, files: Iterable[str], journaled: Collection[int] = ()) -> bool:
    """Close the accounts of all dead processes but those in a journal; return whether there were any."""
    closed = [_close(path, pid) for pid in sorted(dead_among(files) - set(journaled))]
    return any(closed)


def dead_among(files: Iterable[str]) -> set[int]:
    """Return the dead processes whose gauges are among the files."""
    return {pid for file in files if (pid := owner_of(file)) is not None and not is_alive(pid)}


def close_account(path: str, pid: int) -> bool:
    """Remove a dead process's gauges and count its open runs as lost; return whether that was done.

    That of a process which keeps a journal is left to those who read the journal.
    """
    return not os.path.exists(os.path.join(path, journal_mark_of(pid))) and _close(path, pid)


def close_as_journaled(path: str, dead: DeadProcess) -> None:
    """Make a dead process's account agree with its journal, and close it; raises ``OSError`` if there is no room.

    If another process has its pid, that one has closed the account already, except for what a queue has lost.
    """
    if is_alive(dead.pid):
        correct_lost(path, dead)
        return
    if dead.off:
        _close(path, dead.pid)
        return
    correct(path, dead)  # first: the gauges are what the others see of an account that is not closed
    _removed(path, dead.pid)
    with contextlib.suppress(OSError):
        mark_process_dead(dead.pid, path)


def _close(path: str, pid: int) -> bool:
    closed = close_own_account(path, pid)
    if closed:
        with contextlib.suppress(OSError):  # another process may remove the same files now
            mark_process_dead(pid, path)
    return closed


def close_own_account(path: str, pid: int) -> bool:
    """Close only our own files; a new process with that pid may use those of prometheus_client."""
    is_journaled = os.path.exists(os.path.join(path, journal_mark_of(pid)))
    try:
        lost = +open_runs(path, pid)
    except Exception as fault:  # noqa: BLE001  the file may be damaged in any way
        counters = os.path.join(path, file_of(COUNTER, pid))
        log_once(f"{counters} cannot be read, so no run of process {pid} is counted as lost: {fault!r}")
        lost = Counter()
    try:
        _write_lost(path, pid, lost)
    except OSError as fault:
        log_once(f"no room in {path}, so the account of the dead process {pid} stays open: {fault}")
        return False
    if _removed(path, pid) and not is_journaled:  # only the process that removed them logs it
        for name, count in sorted(lost.items()):
            detail = f"process {pid} died before they ended; if a task must survive that, use a queue"
            keys = {semconv.KEY_TASK: name, semconv.KEY_COUNT: count, semconv.KEY_DETAIL: detail}
            emit("warning", semconv.EVENT_LOST, keys)
    return True


def _write_lost(path: str, pid: int, lost: Counter[str]) -> None:
    """Write the lost runs of a dead process atomically. Writing them twice gives the same file."""
    if lost:
        labels = semconv.LOST.labels
        values = {key_of(semconv.LOST, TOTAL, labels, (name, STARLETTE)): float(lost[name]) for name in lost}
        write_at_once(os.path.join(path, lost_file_of(pid)), values)


def _removed(path: str, pid: int) -> bool:
    """Remove the gauges of a dead process; return whether this call removed them."""
    there = False
    for kind in (LIVE_MAX, LIVE_SUM):  # the last file decides which process was first
        try:
            os.remove(os.path.join(path, file_of(kind, pid)))
            there = True
        except FileNotFoundError:
            there = False
    with contextlib.suppress(OSError):
        os.remove(os.path.join(path, journal_mark_of(pid)))
    return there


def is_alive(pid: int) -> bool:
    """Return whether a process lives. One that has ended, but whose parent has not heard of it yet, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's process, so it is alive; or not a valid pid
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # Linux
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return True
