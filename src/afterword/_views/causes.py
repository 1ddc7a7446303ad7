"""Why runs did not succeed: one cause for all that have their task, outcome, reason, route and error in common."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._common import semconv
from .._common.errors.exceptions import from_record
from .._common.model import LOST, RETURNED, Outcome, Reason, lost_detail
from .._common.text import clean
from .._ledger.journal import lines
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .keys import MAX_IN_LIST, in_bounds, iso
from .reader import Reader, look, with_lost

MOST_RUNS: Final = 50_000
"""Runs that are looked at; of more, the newest."""
UNSUCCESSFUL: Final = (*(outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED), LOST, RETURNED)


class Kind(NamedTuple):
    """What runs have in common that ended for the same cause."""

    task: str
    outcome: str | None
    reason: str | None
    method: str | None
    route: str | None
    error_type: str | None


@dataclass(slots=True)
class Cause:
    """A cause, how often there was it, and from when until when."""

    kind: Kind
    example: Record
    """The last one."""
    first: float
    last: float
    count: int = 0


def grouped(records: Iterable[Record]) -> list[Cause]:
    """Return the causes of the runs that did not succeed, the most frequent first; of as many, the last first.

    Attempts that did not end their task have causes of their own.
    """
    causes: dict[Kind, Cause] = {}
    for record in records:
        if record.outcome == Outcome.SUCCEEDED:
            continue
        kind = Kind(record.task, record.outcome, record.reason, record.method, record.route, record.error_type)
        at = record.ended_at or 0.0
        cause = causes.setdefault(kind, Cause(kind, record, at, at))
        cause.count += 1
        cause.first, cause.last = min(cause.first, at), max(cause.last, at)
    return sorted(causes.values(), key=lambda cause: (-cause.count, -cause.last))


def advice(record: Record) -> str:
    """Return what happened to a run and what to do about it, as far as its process wrote it down."""
    if record.outcome != LOST:
        return record.detail or ""
    return lost_detail(record.state, record.pid, record.engine, record.shutdown)


def keys_of_cause(cause: Cause, detail: str) -> dict[str, Any]:
    """Return a cause's keys and values, with the detail that its example has for whoever reads it."""
    kind = cause.kind
    return {
        semconv.KEY_COUNT: cause.count,
        semconv.KEY_TASK: kind.task,
        lines.ENGINE: cause.example.engine,
        lines.OUTCOME: kind.outcome,
        semconv.KEY_REASON: kind.reason,
        semconv.KEY_METHOD: kind.method,
        semconv.KEY_ROUTE: kind.route,
        semconv.KEY_ERROR_TYPE: kind.error_type,
        "first_at": iso(cause.first),
        "last_at": iso(cause.last),
        "example": cause.example.run,
        semconv.KEY_DETAIL: detail or None,
    }


def view(
    reader: Reader,
    since: float = 3600.0,
    *,
    outcomes: Collection[str] = (),
    task: str | None = None,
    route: str | None = None,
    limit: int = 100,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the causes of the last ``since`` seconds, the most frequent first; raises ``OSError``."""
    end = time.time() if now is None else now
    chosen = outcomes or UNSUCCESSFUL
    wanted = Filter(
        outcomes=chosen,
        attempts=RETURNED in chosen,
        named=task,
        route=route,
        since=end - since,
        until=end,
    )
    records = with_lost(reader.ended(wanted), look(reader).lost, wanted)
    found = grouped(itertools.islice(records, MOST_RUNS))
    return {
        "causes": [told(cause) for cause in found[:limit]],
        "total": len(found),
        "truncated": next(records, None) is not None,
    }


def told(cause: Cause) -> dict[str, Any]:
    """Return what is known of a cause."""
    return in_bounds(keys_of_cause(cause, explained(cause.example)))


def explained(record: Record) -> str:
    """Return what happened to a run and what to do about it, in a sentence that is never empty."""
    detail = clean(advice(record), MAX_IN_LIST)
    text = None if record.error is None else from_record(record.error)
    error = clean(": ".join(filter(None, (record.error_type, text))), MAX_IN_LIST)
    if record.reason == Reason.EXCEPTION and error:
        return f"it raised {error}"
    return detail or error or f"it was {record.outcome}; nothing more is known"
