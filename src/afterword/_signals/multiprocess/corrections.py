"""What a dead process's journal adds to its counters, so that they agree.

A process may be killed between writing a transition down and counting it, and then its counters are one off. They
are not touched: what is missing is written to another file beside them, completely and once. So it is the same
whoever writes it, and however often somebody dies while doing so.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.mmap_dict import MmapedDict

from ..._common import semconv
from ..._common.cardinality import ERROR_TYPES
from ..._common.model import STARLETTE, STATE_RUNNING, Outcome
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

_ENGINE = semconv.SCHEDULED.labels[-1]
_SIGNS = {semconv.SCHEDULED: 1, semconv.ENDED: -1, semconv.LOST: -1}
_METRICS = {metric.prometheus: metric for metric in (*_SIGNS, semconv.STARTED, semconv.FAILURES)}
_STARTED = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED)

Series = tuple[semconv.Metric, tuple[str, ...]]
"""A counter, and the values of its labels, of which the first is a task's name; without Starlette as engine."""


def open_runs(path: str, pid: int) -> Counter[str]:
    """Return how many runs of each task were open when the processes with a pid died; negative: too many ended.

    Those are left out that were counted as lost without a journal.
    """
    return _open_of(_counted(path, pid))


def _open_of(counted: Counter[Series]) -> Counter[str]:
    left: Counter[str] = Counter()
    for (metric, (name, *_)), value in counted.items():
        left[name] += _SIGNS.get(metric, 0) * value
    return left


def _counted(path: str, pid: int) -> Counter[Series]:
    """Return what the processes with a pid have counted, and what was added to that."""
    corrections = [file for file in os.listdir(path) if is_corrections_file(file, pid) and file.endswith(".db")]
    counted: Counter[Series] = Counter()
    for file in (file_of(COUNTER, pid), *corrections):
        for series, value in _counters(os.path.join(path, file)):
            counted[series] += value
    return counted


def _counters(file: str) -> Iterator[tuple[Series, int]]:
    if os.path.exists(file):
        for key, value, *_ in MmapedDict.read_all_values_from_file(file):
            name, _, labels, _ = json.loads(key)
            metric = _METRICS.get(name)
            if metric is not None and labels.pop(_ENGINE, STARLETTE) == STARLETTE:
                yield (metric, tuple(labels[label] for label in metric.labels if label != _ENGINE)), int(value)


def correct(path: str, dead: DeadProcess) -> None:
    """Write what is missing in the counters of a dead process; raises ``OSError`` if there is no room."""
    final = os.path.join(path, corrections_file_of(dead.pid, dead.process))
    if os.path.exists(final):
        return
    counted = _counted(path, dead.pid)
    left = _open_of(counted)
    # lost without a journal: by a process before it with the same pid, or because somebody closed this account
    before: Counter[str] = Counter()
    for (_, (name, *_more)), value in _counters(os.path.join(path, lost_file_of(dead.pid))):
        before[name] += value
    is_closed = not os.path.exists(os.path.join(path, file_of(LIVE_SUM, dead.pid)))
    in_flight, recovered = _of_starlette(dead.lost), _of_starlette(dead.recovered)
    lost = Counter(run.task for run in in_flight)
    missing: Counter[Series] = Counter()
    names = {*left, *before, *lost}
    for name in names:
        surplus = left[name] - lost[name] - (0 if is_closed else before[name])
        uncounted = _latest(recovered, name, surplus)
        unscheduled = max(0, -surplus)
        missing[semconv.SCHEDULED, (name,)] = unscheduled
        missing.update((semconv.ENDED, (name, str(run.outcome))) for run in uncounted)
        # what no journal knows of is lost, too
        missing[semconv.LOST, (name,)] = left[name] + unscheduled - len(uncounted) - before[name]
    counted.update(missing)
    for name in names:
        missing.update(_missing_beside(counted, in_flight, recovered, name))
    values = {
        key_of(metric, TOTAL, metric.labels, (*labels, STARLETTE)): count
        for (metric, labels), count in missing.items()
    }
    if any(values.values()):
        write_at_once(final, {key: float(value) for key, value in values.items() if value})


def _of_starlette(runs: Sequence[DeadRun]) -> list[DeadRun]:
    """Return the runs whose account is one process's."""
    return [run for run in runs if run.engine == STARLETTE]


def _missing_beside(
    counted: Counter[Series], in_flight: Sequence[DeadRun], recovered: Sequence[DeadRun], name: str
) -> Counter[Series]:
    """Return what the counters of a task lack that stand beside the law, once those in it are right."""
    running = sum(run.state == STATE_RUNNING for run in in_flight if run.task == name)
    started = running + sum(counted[semconv.ENDED, (name, str(outcome))] for outcome in _STARTED)
    failed = counted[semconv.ENDED, (name, str(Outcome.FAILED))]
    failures = sum(
        value for (metric, labels), value in counted.items() if metric is semconv.FAILURES and labels[0] == name
    )
    missing: Counter[Series] = Counter()
    missing[semconv.STARTED, (name,)] = max(0, started - counted[semconv.STARTED, (name,)])
    of_failed = [run for run in recovered if run.outcome == Outcome.FAILED]
    for run in _latest(of_failed, name, failed - failures):
        missing[semconv.FAILURES, (name, ERROR_TYPES.admit(str(run.error_type)))] += 1
    return missing


def _latest(recovered: Sequence[DeadRun], name: str, count: int) -> list[DeadRun]:
    """Return the runs of a task that ended last, of those that perhaps were not counted."""
    ended = sorted((run for run in recovered if run.task == name), key=lambda run: run.ended_at or 0.0)
    return ended[-count:] if count > 0 else []
