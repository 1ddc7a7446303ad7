"""The requests with their tasks, as a timeline shows them: scheduled, waiting, running, ended."""

from __future__ import annotations

import itertools
import time
from collections.abc import Hashable
from typing import Any, Final

from .._common import semconv
from .._common.model import CELERY
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .keys import in_bounds, iso, keys_in_list
from .reader import Reader, look, with_lost
from .runs import published_in

MOST_RUNS: Final = 50_000
"""Runs that are looked at; of more, the newest."""
MOST_OF_REQUEST: Final = 100
"""Runs of one request that are told, the first ones."""
_SLACK_SECONDS: Final = 60.0
"""So long after its first task a request schedules its last one, at most."""


class Request:
    """The runs of one request."""

    def __init__(self) -> None:
        self.runs: list[Record] = []
        self.first = float("inf")
        """When its first run was scheduled."""

    def add(self, record: Record) -> None:
        """Add one of its runs."""
        self.runs.append(record)
        self.first = min(self.first, record.scheduled_at)

    @property
    def is_of_workers(self) -> bool:
        """Whether nothing is known of it yet but what workers have run."""
        return all(record.engine == CELERY for record in self.runs)

    def has(self, task: str | None, route: str | None) -> bool:
        """Return whether it has a run of a task and is to a route, where they are asked for."""
        return any(map(Filter(named=task, route=route).wants, self.runs))


def request_of(record: Record) -> Hashable:
    """Return what the runs of a request have in common; the run itself where nothing tells."""
    if record.engine == CELERY and (request := published_in(record)) is not None:
        return CELERY, request
    if record.began_at is not None:
        return record.process, record.began_at, record.method
    if record.parent_span_id is not None:
        return record.process, record.parent_trace_id, record.parent_span_id
    if record.request_id is not None:
        return record.process, record.request_id, record.method, record.route
    return record.run


class _Requests(dict[Hashable, Request]):
    """Requests by what their runs have in common. A worker's runs join those of who published them."""

    def of(self, record: Record) -> Request:
        """Return the request of a run."""
        key = request_of(record)
        request = self.get(key)
        if request is None:
            shared = published_in(record)
            known = None if shared is None else self.get((CELERY, shared))
            request = self[key] = Request() if known is None or not known.is_of_workers else known
            if shared is not None:
                self.setdefault((CELERY, shared), request)
        return request


def view(
    reader: Reader,
    since: float = 3600.0,
    *,
    limit: int = 50,
    task: str | None = None,
    route: str | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the last requests that scheduled tasks, newest first, each with all its runs; raises ``OSError``.

    Those are of the last ``since`` seconds whose runs are in flight or ended in them.
    """
    end = time.time() if now is None else now
    wanted = Filter(since=end - since, until=end)
    flying, lost = look(reader)
    records = itertools.chain(reversed(flying), with_lost(reader.ended(wanted), lost, wanted))
    found = gathered(itertools.islice(records, MOST_RUNS), limit, task, route)
    newest = sorted(found, key=lambda request: -request.first)
    return {
        "requests": [_keys(request, end) for request in newest[:limit]],
        "more": len(found) > limit or next(records, None) is not None,
    }


def gathered(records: Any, limit: int, task: str | None, route: str | None) -> list[Request]:
    """Return the requests that are asked for; reading ends when those that are shown are complete."""
    requests = _Requests()
    matching: dict[int, Request] = {}
    enough = float("-inf")
    for record in records:
        if record.ended_at is not None and record.ended_at < enough:
            break
        request = requests.of(record)
        request.add(record)
        if id(request) not in matching and request.has(task, route):
            matching[id(request)] = request
            if len(matching) == limit + 1:
                enough = min(request.first for request in matching.values()) - _SLACK_SECONDS
    return list(matching.values())


def _keys(request: Request, now: float) -> dict[str, Any]:
    runs = sorted(request.runs, key=lambda record: record.scheduled_at)
    first = runs[0]
    last = max(record.ended_at if record.ended_at is not None else now for record in runs)
    return in_bounds(
        {
            semconv.KEY_METHOD: first.method,
            semconv.KEY_ROUTE: first.route,
            semconv.KEY_REQUEST_ID: first.request_id,
            semconv.KEY_TRACE_ID: first.parent_trace_id,
            "began_at": iso(next((record.began_at for record in runs if record.began_at is not None), None)),
            **_answer(runs),
            "first_at": iso(first.scheduled_at),
            "last_at": iso(last),
            "runs": [keys_in_list(record, now) for record in runs[:MOST_OF_REQUEST]],
            "total": len(runs),
        }
    )


def _answer(runs: list[Record]) -> dict[str, Any]:
    """Return when the response was sent. While nothing but runs in flight tells, it was before the first one."""
    known = [record.answered_at for record in runs if record.answered_at is not None]
    starts = [record.started_at for record in runs if record.started_at is not None]
    if known or not starts:
        return {"answered_at": iso(max(known, default=None))}
    return {"answered_at": iso(min(starts)), "answered_at_derived": True}
