"""What is in flight, process by process."""

from __future__ import annotations

import time
from typing import Any, Final

from .._common import semconv
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .keys import iso, keys_in_list
from .reader import Reader

MOST: Final = 500
"""Runs that are told, the oldest of all."""


def view(reader: Reader, task: str | None = None, *, now: float | None = None) -> dict[str, Any]:
    """Return what is in flight, by process, oldest first; a dead process's runs are lost.

    Raises ``OSError``.
    """
    now = time.time() if now is None else now
    records = reader.in_flight(Filter(named=task))
    processes: dict[str, list[Record]] = {}
    for record in records[:MOST]:
        processes.setdefault(record.process, []).append(record)
    told = [
        {
            semconv.KEY_PID: runs[0].pid,
            "process": process,
            "alive": runs[0].alive,
            "seen_at": iso(runs[0].seen_at),
            "runs": [keys_in_list(record, now) for record in runs],
        }
        for process, runs in processes.items()
    ]
    return {"now": iso(now), "processes": told, "total": len(records)}
