"""What a dead process's journal adds to its counters, so that they agree.

A process may be killed between writing a transition down and counting it, and then its counters are one off. They
are not touched: what is missing is written to another file beside them, completely and once. So it is the same
whoever writes it, and however often somebody dies while doing so.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from ..._common import semconv
from ..._common.model import CELERY, STARLETTE, STATE_RUNNING
from ..lost import DeadProcess, DeadRun
from .counted import BEGAN, Series, counted_by, counters_in, latest, missing_failures, missing_reasons, of_engine
from .queue_corrections import missing_of_queue
from .shared_file import LIVE_SUM, TOTAL, corrections_file_of, file_of, key_of, lost_file_of, write_at_once

_SIGNS = {semconv.SCHEDULED: 1, semconv.ENDED: -1, semconv.LOST: -1}


def open_runs(path: str, pid: int) -> Counter[str]:
    """Return how many runs of each task were open when the processes with a pid died; negative: too many ended.

    Those are left out that were counted as lost without a journal.
    """
    return _open_of(counted_by(path, pid, STARLETTE))


def _open_of(counted: Counter[Series]) -> Counter[str]:
    left: Counter[str] = Counter()
    for (metric, (name, *_)), value in counted.items():
        left[name] += _SIGNS.get(metric, 0) * value
    return left


def correct(path: str, dead: DeadProcess) -> None:
    """Write what is missing in the counters of a dead process; raises ``OSError`` if there is no room."""
    missing = {STARLETTE: _missing(path, dead)}
    missing[CELERY] = missing_of_queue(dead, counted_by(path, dead.pid, CELERY))
    _write(path, dead, missing)


def correct_lost(path: str, dead: DeadProcess) -> None:
    """Write only what a queue lost: another process has the pid, and counts in the same file by now."""
    _write(path, dead, {CELERY: missing_of_queue(dead, None)})


def _write(path: str, dead: DeadProcess, missing: Mapping[str, Counter[Series]]) -> None:
    final = os.path.join(path, corrections_file_of(dead.pid, dead.process))
    values = {
        key_of(metric, TOTAL, metric.labels, (*labels, engine)): float(count)
        for engine, counts in missing.items()
        for (metric, labels), count in counts.items()
        if count
    }
    if values and not os.path.exists(final):
        write_at_once(final, values)


def _missing(path: str, dead: DeadProcess) -> Counter[Series]:
    """Return what the counters of the tasks lack whose account is one process's."""
    counted = counted_by(path, dead.pid, STARLETTE)
    left = _open_of(counted)
    # lost without a journal: by a process before it with the same pid, or because somebody closed this account
    before: Counter[str] = Counter()
    for (_, (name, *_more)), value in counters_in(os.path.join(path, lost_file_of(dead.pid)), STARLETTE):
        before[name] += value
    is_closed = not os.path.exists(os.path.join(path, file_of(LIVE_SUM, dead.pid)))
    in_flight, recovered = of_engine(dead.lost, STARLETTE), of_engine(dead.recovered, STARLETTE)
    lost = Counter(run.task for run in in_flight)
    missing: Counter[Series] = Counter()
    names = {*left, *before, *lost}
    for name in names:
        surplus = left[name] - lost[name] - (0 if is_closed else before[name])
        uncounted = latest(recovered, name, surplus)
        unscheduled = max(0, -surplus)
        missing[semconv.SCHEDULED, (name,)] = unscheduled
        missing.update((semconv.ENDED, (name, str(run.outcome))) for run in uncounted)
        # what no journal knows of is lost, too
        missing[semconv.LOST, (name,)] = left[name] + unscheduled - len(uncounted) - before[name]
    counted.update(missing)
    for name in names:
        missing.update(_missing_beside(counted, in_flight, recovered, name))
    return missing


def _missing_beside(
    counted: Counter[Series], in_flight: Sequence[DeadRun], recovered: Sequence[DeadRun], name: str
) -> Counter[Series]:
    """Return what the counters of a task lack that stand beside the law, once those in it are right."""
    running = sum(run.state == STATE_RUNNING for run in in_flight if run.task == name)
    started = running + sum(counted[semconv.ENDED, (name, str(outcome))] for outcome in BEGAN)
    missing = missing_failures(counted, recovered, name) + missing_reasons(counted, recovered, name)
    missing[semconv.STARTED, (name,)] = max(0, started - counted[semconv.STARTED, (name,)])
    return missing
