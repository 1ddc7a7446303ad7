"""What is wrong, first: outcomes, causes and checks of the last time."""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

from .._common import semconv
from .._common.model import LOST, STATE_PENDING, STATE_RUNNING, Outcome
from .._ledger.journal.history import Filter
from . import checks
from .account import Accounts
from .causes import grouped, told
from .keys import iso, known
from .reader import Reader, look, with_lost
from .tasks import MOST_RUNS

MOST_CAUSES: Final = 20


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
    wanted = Filter(since=end - since, until=end)
    flying, lost = look(reader)
    ended = with_lost(reader.ended(wanted), lost, wanted)
    records = list(itertools.islice(ended, MOST_RUNS))
    outcomes = Counter(record.outcome for record in records)
    states = Counter(record.state for record in flying)
    per_process = Counter(record.process for record in itertools.chain(flying, lost))
    causes = grouped(records)
    durations: defaultdict[str, list[float]] = defaultdict(list)
    running = {record.task for record in flying}
    for record in records:
        if record.duration is not None and record.task in running:
            durations[record.task].append(record.duration)
    source = reader.source()
    return {
        "now": iso(end),
        "since_s": since,
        "source": known({"kind": source.kind, "detail": source.detail, "oldest_at": iso(source.oldest)}),
        "outcomes": {outcome: outcomes[outcome] for outcome in (*map(str, Outcome), LOST)},
        "truncated": next(ended, None) is not None,
        STATE_PENDING: states[STATE_PENDING],
        STATE_RUNNING: states[STATE_RUNNING],
        "causes": [told(cause) for cause in causes[:MOST_CAUSES]],
        "causes_total": len(causes),
        "checks": [
            checks.account(metrics),
            checks.stuck(flying, durations, end),
            checks.threads(threads),
        ],
        "processes": [
            known(
                {
                    semconv.KEY_PID: process.pid,
                    "process": process.process,
                    "alive": process.alive,
                    "in_flight": per_process[process.process],
                }
            )
            for process in reader.processes()
        ],
    }
