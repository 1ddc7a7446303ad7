"""What is wrong, first: the outcomes, the causes and the checks of the last time."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from .._common import semconv
from .._common.model import LOST, RETURNED, STATE_PENDING, STATE_RUNNING, Outcome
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from . import checks
from .account import Accounts
from .causes import grouped, told
from .keys import iso, known
from .reader import Now, Reader, look, with_lost
from .tasks import MOST_RUNS

MOST_CAUSES: Final = 20


class _Passing:
    """What is counted of runs while they pass: their outcomes, and what some tasks usually take."""

    def __init__(self, tasks: Collection[str]) -> None:
        self._tasks = tasks
        self.outcomes: Counter[str | None] = Counter()
        self.usual = checks.Usual()

    def count(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            self.outcomes[record.outcome] += 1
            if record.task in self._tasks and record.outcome != RETURNED:
                self.usual.add(record)
            yield record


def view(
    reader: Reader,
    since: float = 3600.0,
    *,
    metrics: Callable[[], Accounts | None] | None = None,
    threads: Callable[[], checks.Threads | None] | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the outcomes, the causes and the checks of the last ``since`` seconds; raises ``OSError``.

    ``metrics`` returns the accounts that the application publishes, ``threads`` the use of its worker threads.
    """
    end = time.time() if now is None else now
    wanted = Filter(since=end - since, until=end, attempts=True)  # they have causes, too
    seen = look(reader)
    ended = with_lost(reader.ended(wanted), seen.lost, wanted)
    passing = _Passing({record.task for record in seen.in_flight})
    causes = grouped(passing.count(itertools.islice(ended, MOST_RUNS)))
    states = Counter(record.state for record in seen.in_flight)
    return {
        "now": iso(end),
        "since_s": since,
        "source": _source(reader),
        "outcomes": {outcome: passing.outcomes[outcome] for outcome in (*map(str, Outcome), LOST)},
        "truncated": next(ended, None) is not None,
        STATE_PENDING: states[STATE_PENDING],
        STATE_RUNNING: states[STATE_RUNNING],
        "causes": [told(cause) for cause in causes[:MOST_CAUSES]],
        "causes_total": len(causes),
        "checks": [
            checks.account(metrics),
            checks.stuck(seen.in_flight, passing.usual, end),
            checks.threads(threads),
        ],
        "processes": _processes(reader, seen),
    }


def _source(reader: Reader) -> dict[str, Any]:
    source = reader.source()
    return known({"kind": source.kind, semconv.KEY_DETAIL: source.detail, "oldest_at": iso(source.oldest)})


def _processes(reader: Reader, seen: Now) -> list[dict[str, Any]]:
    in_flight = Counter(record.process for record in itertools.chain(seen.in_flight, seen.lost))
    return [
        known(
            {
                semconv.KEY_PID: process.pid,
                "process": process.process,
                "alive": process.alive,
                "seen_at": iso(process.seen_at),
                "in_flight": in_flight[process.process],
            }
        )
        for process in reader.processes()
    ]
