"""What a dead process has counted, read from its files, and what its journal says of that."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.mmap_dict import MmapedDict

from ..._common import semconv
from ..._common.cardinality import ERROR_TYPES, ROUTES, TASK_NAMES
from ..._common.model import STARLETTE, Outcome
from ..lost import DeadRun
from .shared_file import COUNTER, file_of, is_corrections_file

_ENGINE = semconv.SCHEDULED.labels[-1]
_METRICS = {
    metric.prometheus: metric
    for metric in (
        *(semconv.SCHEDULED, semconv.STARTED, semconv.ENDED),
        *(semconv.FAILURES, semconv.RETURNED, semconv.LOST, semconv.NEVER_RAN),
    )
}
BEGAN = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED)
"""The outcomes of what has begun."""
_NEVER_BEGAN = tuple(outcome for outcome in Outcome if outcome not in BEGAN)

Series = tuple[semconv.Metric, tuple[str, ...]]
"""A counter, and the values of its labels, of which the first is a task's name; without the engine."""


def counted_by(path: str, pid: int, engine: str) -> Counter[Series]:
    """Return what the processes with a pid have counted of an engine's tasks, and what was added to that."""
    corrections = [file for file in os.listdir(path) if is_corrections_file(file, pid) and file.endswith(".db")]
    counted: Counter[Series] = Counter()
    for file in (file_of(COUNTER, pid), *corrections):
        for series, value in counters_in(os.path.join(path, file), engine):
            counted[series] += value
    return counted


def counters_in(file: str, engine: str) -> Iterator[tuple[Series, int]]:
    """Yield the counters of an engine's tasks in a file, if it is there."""
    if os.path.exists(file):
        for key, value, *_ in MmapedDict.read_all_values_from_file(file):
            name, _, labels, _ = json.loads(key)
            metric = _METRICS.get(name)
            if metric is not None and labels.pop(_ENGINE, STARLETTE) == engine:
                yield (metric, tuple(labels[label] for label in metric.labels if label != _ENGINE)), int(value)


def of_engine(runs: Sequence[DeadRun], engine: str) -> list[DeadRun]:
    """Return the runs of an engine."""
    return [run for run in runs if run.engine == engine]


def latest(ended: Sequence[DeadRun], name: str, count: int) -> list[DeadRun]:
    """Return the runs of a task that ended last, of those that perhaps were not counted."""
    found = sorted((run for run in ended if run.task == name), key=lambda run: run.ended_at or 0.0)
    return found[-count:] if count > 0 else []


def missing_failures(counted: Counter[Series], recovered: Sequence[DeadRun], name: str) -> Counter[Series]:
    """Return the failures of a task that are counted as such, and not by their error."""
    failed = counted[semconv.ENDED, (name, str(Outcome.FAILED))]
    failures = sum(
        value for (metric, labels), value in counted.items() if metric is semconv.FAILURES and labels[0] == name
    )
    of_failed = [run for run in recovered if run.outcome == Outcome.FAILED]
    missing: Counter[Series] = Counter()
    for run in latest(of_failed, name, failed - failures):
        missing[semconv.FAILURES, (name, ERROR_TYPES.admit(str(run.error_type)))] += 1
    return missing


def missing_reasons(counted: Counter[Series], recovered: Sequence[DeadRun], name: str) -> Counter[Series]:
    """Return what of a task never ran and is counted as such, and not by its reason; no journal has the status."""
    missing: Counter[Series] = Counter()
    for outcome in map(str, _NEVER_BEGAN):
        told = sum(
            value
            for (metric, labels), value in counted.items()
            if metric is semconv.NEVER_RAN and labels[:2] == (name, outcome)
        )
        so_ended = [run for run in recovered if run.outcome == outcome]
        for run in latest(so_ended, name, counted[semconv.ENDED, (name, outcome)] - told):
            stopped_by = TASK_NAMES.admit(run.stopped_by) if run.stopped_by else ""
            why = outcome, run.reason or "", stopped_by, ROUTES.admit(run.route or ""), ""
            missing[semconv.NEVER_RAN, (name, *why)] += 1
    return missing
