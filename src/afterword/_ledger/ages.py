"""How old the oldest runs of this process are: by their state, and those that run by their task."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from .._common import forks
from .._common.model import STARLETTE, STATE_PENDING, STATE_RUNNING
from .runs import open_runs

_seen: Final[dict[tuple[str, str], None]] = {}  # as many as there may be task names
forks.in_child(_seen.clear)


def oldest_age(state: str, engine: str = STARLETTE) -> float:
    """Return the age in seconds of the oldest run of this process in a state, 0 if there is none."""
    runs = open_runs[engine][state != STATE_PENDING]
    while True:
        try:
            run = next(iter(runs), None)
        except RuntimeError:  # another thread changed the dictionary
            continue
        if run is None:
            return 0.0
        return perf_counter() - (run._scheduled_tick if state == STATE_PENDING else run._started_tick)


class Ages:
    """The ages of the oldest runs of this process in seconds, at the moment when they are read."""

    @property
    def by_state(self) -> list[tuple[str, str, float]]:
        """For each state and engine; 0 if there is none."""
        states = (STATE_PENDING, STATE_RUNNING)
        return [(state, engine, oldest_age(state, engine)) for engine in open_runs for state in states]

    @property
    def running(self) -> list[tuple[str, str, float]]:
        """For each task that runs and its engine; 0 for one that has been seen here and does not run any more.

        It looks at all that run, so it is for a scrape.
        """
        ages = dict.fromkeys(_seen, 0.0)
        for engine, (_, running) in open_runs.items():
            oldest = {run.name: run._started_tick for run in reversed(list(running))}
            now = perf_counter()
            ages |= {(name, engine): now - tick for name, tick in oldest.items()}
        _seen.update(dict.fromkeys(ages))
        return [(name, engine, age) for (name, engine), age in ages.items()]


def oldest_ages() -> Ages:
    """Return what knows the ages of the oldest runs of this process."""
    return Ages()
