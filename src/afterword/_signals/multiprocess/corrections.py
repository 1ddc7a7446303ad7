"""What a dead process's journal adds to its counters, so that they agree.

A process may be killed between writing a transition down and counting it, and then its counters are one off. They
are not touched: what is missing is written to another file beside them, completely and once. So it is the same
whoever writes it, and however often somebody dies while doing so.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator

from prometheus_client.mmap_dict import MmapedDict

from ..._common import semconv
from ..lost import DeadProcess, DeadRun
from .shared_file import (
    COUNTER,
    LIVE_SUM,
    TOTAL,
    corrections_file_of,
    file_of,
    is_corrections_file,
    key_of,
    lost_file_of,
    write_at_once,
)

_SIGNS = {semconv.SCHEDULED.prometheus: 1, semconv.ENDED.prometheus: -1, semconv.LOST.prometheus: -1}


def open_runs(path: str, pid: int) -> Counter[str]:
    """Return how many runs of each task were open when the processes with a pid died; negative: too many ended.

    Those are left out that were counted as lost without a journal.
    """
    corrections = [file for file in os.listdir(path) if is_corrections_file(file, pid) and file.endswith(".db")]
    left: Counter[str] = Counter()
    for file in (file_of(COUNTER, pid), *corrections):
        for metric, name, value in _counters(os.path.join(path, file)):
            left[name] += _SIGNS[metric] * value
    return left


def _counters(file: str) -> Iterator[tuple[str, str, int]]:
    if os.path.exists(file):
        for key, value, *_ in MmapedDict.read_all_values_from_file(file):
            metric, _, labels, _ = json.loads(key)
            if metric in _SIGNS:
                yield metric, labels[semconv.SCHEDULED.labels[0]], int(value)


def correct(path: str, dead: DeadProcess) -> None:
    """Write what is missing in the counters of a dead process; raises ``OSError`` if there is no room."""
    final = os.path.join(path, corrections_file_of(dead.pid, dead.process))
    if os.path.exists(final):
        return
    left = open_runs(path, dead.pid)
    # lost without a journal: by a process before it with the same pid, or because somebody closed this account
    before = Counter({name: value for _, name, value in _counters(os.path.join(path, lost_file_of(dead.pid)))})
    is_closed = not os.path.exists(os.path.join(path, file_of(LIVE_SUM, dead.pid)))
    lost = Counter(run.task for run in dead.lost)
    values: Counter[str] = Counter()
    for name in {*left, *before, *lost}:
        surplus = left[name] - lost[name] - (0 if is_closed else before[name])
        uncounted = _latest(dead, name, surplus)
        unscheduled = max(0, -surplus)
        values[key_of(semconv.SCHEDULED, TOTAL, semconv.SCHEDULED.labels, (name,))] = unscheduled
        for run in uncounted:
            values[key_of(semconv.ENDED, TOTAL, semconv.ENDED.labels, (name, str(run.outcome)))] += 1
        # what no journal knows of is lost, too
        remaining = left[name] + unscheduled - len(uncounted) - before[name]
        values[key_of(semconv.LOST, TOTAL, semconv.LOST.labels, (name,))] = remaining
    if any(values.values()):
        write_at_once(final, {key: float(value) for key, value in values.items() if value})


def _latest(dead: DeadProcess, name: str, count: int) -> list[DeadRun]:
    """Return the runs of a task that ended last, of those that perhaps were not counted."""
    ended = sorted((run for run in dead.recovered if run.task == name), key=lambda run: run.ended_at or 0.0)
    return ended[-count:] if count > 0 else []
