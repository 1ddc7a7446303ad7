"""Runs: those that are asked for, page by page; one, found by its id, and the others of its request."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import time
from collections.abc import Collection, Hashable, Iterator
from typing import Any, Final

from .._common.model import CELERY, RETURNED
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .keys import keys_in_list, keys_of_one, state
from .reader import Reader, look, newest_first, with_lost

_ID_LENGTHS: Final = (32, 36)
"""Of whole ids: ours, and Celery's."""
_DISORDER: Final = 256
MOST_OTHERS: Final = 100
MOST_ATTEMPTS: Final = 100
"""Attempts of one task that are told, the last ones."""
FEWEST: Final = 8
SOME: Final = 5
"""Runs that are told where an id's beginning is that of more than one."""


def with_id(reader: Reader, run: str, *, fewest: int = 0) -> list[Record]:
    """Return the run with an id, or those whose ids begin like that; of many, some.

    A task between two attempts is known by its last one. A beginning has ``fewest`` characters at least.
    """
    for whole in dict.fromkeys((run, run.lower())):
        wanted = Filter(run=whole)
        found = itertools.chain(reader.in_flight(wanted), reader.ended(wanted), _returned(reader, whole))
        if (record := next(found, None)) is not None:
            return [record]
    matching: dict[str, Record] = {}
    if len(run) not in _ID_LENGTHS and len(run) >= fewest:
        beginnings = run, run.lower()
        for record in itertools.chain(reader.in_flight(Filter()), reader.ended(Filter(attempts=True))):
            if record.run.startswith(beginnings):
                matching.setdefault(record.run, record)
                if len(matching) > SOME:
                    break
    return list(matching.values())


def _returned(reader: Reader, run: str) -> Iterator[Record]:
    """Yield the attempts of a task that did not end it, the last one first."""
    yield from reader.ended(Filter(run=run, outcomes=(RETURNED,), attempts=True))


def attempts_of(reader: Reader, record: Record) -> list[Record]:
    """Return what else became of a task of Celery's, in order: its other attempts, and what it replaced."""
    if record.engine != CELERY:
        return []
    found = reader.ended(Filter(run=record.run, engine=CELERY, attempts=True))
    shown = record.outcome, record.ended_at
    others = (other for other in found if (other.outcome, other.ended_at) != shown)
    last = {(other.outcome, other.started_at): other for other in itertools.islice(others, MOST_ATTEMPTS)}
    return sorted(last.values(), key=lambda other: other.started_at or other.ended_at or 0.0)


def others_of(reader: Reader, record: Record) -> list[Record] | None:
    """Return the other runs of the same request, in order; ``None`` if nothing tells them apart from others."""
    if record.began_at is not None:
        all_wanted = [Filter(began=record.began_at)]
        if record.parent_trace_id is not None:
            all_wanted.append(Filter(trace=record.parent_trace_id, engine=CELERY))
    elif record.parent_trace_id is not None:
        all_wanted = [Filter(trace=record.parent_trace_id)]
    elif record.request_id is not None:
        all_wanted = [Filter(route=record.route)]
    else:
        return None
    found = {
        other.run: other
        for wanted in all_wanted
        for other in itertools.chain(reader.in_flight(wanted), reader.ended(wanted))
        if other.run != record.run and _is_of_same_request(record, other)
    }
    return sorted(found.values(), key=lambda other: other.scheduled_at)


def _is_of_same_request(one: Record, other: Record) -> bool:
    """Return whether two runs have a request in common: by its beginning, its span, or the id of a client."""
    if CELERY in (one.engine, other.engine):
        shared = published_in(one)
        return shared is not None and shared == published_in(other)
    if one.process != other.process:
        return False
    if one.began_at is not None and other.began_at is not None:
        return (one.began_at, one.method) == (other.began_at, other.method)
    if one.parent_trace_id != other.parent_trace_id:
        return False
    if one.parent_span_id is not None and one.parent_span_id == other.parent_span_id:
        return True
    request = one.request_id, one.method, one.route
    return one.request_id is not None and request == (other.request_id, other.method, other.route)


def published_in(record: Record) -> Hashable:
    """Return what tells the request that a run was scheduled in, in any process; ``None`` without one."""
    if record.method is None or record.parent_trace_id is None:
        return None
    return record.parent_trace_id, record.method, record.route, record.request_id


# --- a page of them ---------------------------------------------------------------------------------------------


def page(
    reader: Reader,
    wanted: Filter,
    *,
    states: Collection[str] = (),
    limit: int = 50,
    cursor: str | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the runs that are asked for, newest first, and the cursor of the next page.

    With ``states``, those in flight that are in one of them, oldest first, and no others. Raises ``OSError``, and
    ``ValueError`` for a cursor that is none.
    """
    end = time.time() if now is None else now
    if states:
        flying = [record for record in reader.in_flight(wanted) if state(record) in states]
        return {"runs": [keys_in_list(record, end) for record in flying[:limit]], "next": None}
    last = None if cursor is None else _place(cursor)
    if last is not None:
        wanted = dataclasses.replace(wanted, until=min(filter(None, (wanted.until, -last[0] + 1e-6))))
    ended = with_lost(reader.ended(wanted), look(reader).lost, wanted)
    rest = (record for record in in_order(ended) if last is None or _key(record) > last)
    shown = list(itertools.islice(rest, limit))
    more = next(rest, None) is not None
    return {
        "runs": [keys_in_list(record, end) for record in shown],
        "next": _cursor(shown[-1]) if shown and more else None,
    }


def in_order(records: Iterator[Record]) -> Iterator[Record]:
    """Yield runs in one order, whoever reads them: newest first, and those of one moment by their ids.

    What threads have written may be a little out of order.
    """
    heap: list[tuple[tuple[float, str], int, Record]] = []
    for number, record in enumerate(records):
        item = _key(record), number, record
        if len(heap) < _DISORDER:
            heapq.heappush(heap, item)
        else:
            yield heapq.heappushpop(heap, item)[2]
    while heap:
        yield heapq.heappop(heap)[2]


def _key(record: Record) -> tuple[float, str]:
    return newest_first(record), record.run


def _cursor(record: Record) -> str:
    return f"{round((record.ended_at or 0.0) * 1e6)}-{record.run}"


def _place(cursor: str) -> tuple[float, str]:
    moment, separator, run = cursor.partition("-")
    if not (separator and moment.isascii() and moment.isdigit() and len(moment) < 18):
        raise ValueError("it is not the value of next of an earlier answer")
    return -int(moment) / 1e6, run


# --- one of them ------------------------------------------------------------------------------------------------


def one(reader: Reader, run: str, *, now: float | None = None) -> dict[str, Any] | None:
    """Return everything about a run and the others of its request; ``None`` unless exactly one has this id.

    ``run`` is an id, or the beginning of one, of ``FEWEST`` characters at least. Raises ``OSError``.
    """
    end = time.time() if now is None else now
    found = with_id(reader, run.strip(), fewest=FEWEST)
    if len(found) != 1:
        return None
    record = found[0]
    others = others_of(reader, record)
    return {
        "run": keys_of_one(record, end),
        "others": None if others is None else [keys_in_list(other, end) for other in others[:MOST_OTHERS]],
        "attempts": [keys_in_list(other, end) for other in attempts_of(reader, record)],
    }
