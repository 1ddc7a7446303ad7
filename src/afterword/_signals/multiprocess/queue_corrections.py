"""What the journal of a dead worker adds to the counters of a queue's tasks.

Those are scheduled elsewhere, so what is certain is the law of one worker: started = running + succeeded + failed
+ cancelled + returned. Of a dead one, nothing runs: it is lost, or its message comes again, and that attempt is
returned.
"""

from __future__ import annotations

from collections import Counter

from ..._common import semconv
from ..._common.model import CELERY, RETURNED, Reason
from ..lost import DeadProcess
from .counted import BEGAN, Series, latest, missing_failures, of_engine

_LOST_WORKER = str(Reason.WORKER_LOST)


def missing_of_queue(dead: DeadProcess, counted: Counter[Series] | None) -> Counter[Series]:
    """Return what the counters lack; if nobody knows what was counted, what it never could count itself."""
    missing: Counter[Series] = Counter()
    lost, interrupted = of_engine(dead.lost, CELERY), of_engine(dead.interrupted, CELERY)
    missing.update((semconv.LOST, (run.task,)) for run in lost)
    missing.update((semconv.RETURNED, (run.task, _LOST_WORKER)) for run in interrupted)
    if counted is None:
        return missing
    recovered = of_engine(dead.recovered, CELERY)
    ended = [run for run in recovered if run.outcome in BEGAN and run.started_at is not None]
    ended += of_engine(dead.returned, CELERY)
    left = _running(counted)
    left.subtract(run.task for run in (*lost, *interrupted))
    for name, surplus in left.items():
        for run in latest(ended, name, surplus):
            if run.outcome == RETURNED:
                missing[semconv.RETURNED, (name, str(run.reason))] += 1
            else:
                missing[semconv.ENDED, (name, str(run.outcome))] += 1
        missing[semconv.STARTED, (name,)] = max(0, -surplus)
    counted = counted + missing
    for name in {run.task for run in recovered}:
        missing.update(missing_failures(counted, recovered, name))
    return missing


def _running(counted: Counter[Series]) -> Counter[str]:
    """Return how many attempts of each task ran when the process died, by what it had counted."""
    running: Counter[str] = Counter()
    for (metric, (name, *more)), value in counted.items():
        if metric is semconv.STARTED:
            running[name] += value
        elif metric in (semconv.RETURNED, semconv.LOST) or (metric is semconv.ENDED and more[0] in BEGAN):
            running[name] -= value
    return running
