"""What is wrong, first: outcomes, causes and checks of the last time."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from typing import Any, Final

from .._common import semconv
from .._common.model import LOST, STATE_PENDING, STATE_RUNNING, Outcome
from .._ledger.journal.history import Filter
from .causes import grouped, told
from .keys import iso, known
from .reader import Reader, look, with_lost
from .tasks import MOST_RUNS

MOST_CAUSES: Final = 20


def view(reader: Reader, since: float = 3600.0, *, now: float | None = None) -> dict[str, Any]:
    """Return the outcomes, the causes and the checks of the last ``since`` seconds; raises ``OSError``."""
    end = time.time() if now is None else now
    wanted = Filter(since=end - since, until=end)
    flying, lost = look(reader)
    ended = with_lost(reader.ended(wanted), lost, wanted)
    records = list(itertools.islice(ended, MOST_RUNS))
    outcomes = Counter(record.outcome for record in records)
    states = Counter(record.state for record in flying)
    per_process = Counter(record.process for record in itertools.chain(flying, lost))
    causes = grouped(records)
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
        "checks": [],
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
