"""One run: what it is doing, how old it is, how it is found by its id, and the others of its request."""

from __future__ import annotations

import itertools
import math
from typing import Final

from .._common.model import LOST
from .._ledger.journal.history import Filter
from .._ledger.journal.records import Record
from .reader import Reader

_ID_LENGTH: Final = 32
SOME: Final = 5
"""Runs that are told where an id's beginning is that of more than one."""


def age(record: Record, now: float) -> float | None:
    """Return the age of a run: the clock of a dead process's run stopped with its process."""
    end = record.seen_at if record.alive is False else now
    if end is None or not math.isfinite(end):
        return None
    return max(0.0, end - record.scheduled_at)


def state(record: Record) -> str:
    """Return what a run is doing; one whose process is dead is lost."""
    return LOST if record.alive is False else record.state or ""


def is_named(record: Record, task: str | None) -> bool:
    """Return whether a run is of a task, which may be called by the last parts of its name: ``send_mail``."""
    return task is None or record.task == task or record.task.endswith(f".{task}")


def with_id(reader: Reader, run: str) -> list[Record]:
    """Return the run with an id, or those whose ids begin like that; of many, some."""
    wanted = Filter(run=run) if len(run) == _ID_LENGTH else Filter()
    matching: dict[str, Record] = {}
    for record in itertools.chain(reader.ended(wanted), reader.in_flight(wanted)):
        if record.run.startswith(run):
            matching.setdefault(record.run, record)
            if len(matching) > SOME:
                break
    return list(matching.values())


def others_of(reader: Reader, record: Record) -> list[Record] | None:
    """Return the other runs of the same request, in order; ``None`` if nothing tells them apart from others."""
    if record.parent_trace_id is not None:
        wanted = Filter(trace=record.parent_trace_id)
    elif record.request_id is not None:
        wanted = Filter(route=record.route)
    else:
        return None
    found = {
        other.run: other
        for other in itertools.chain(reader.in_flight(wanted), reader.ended(wanted))
        if other.run != record.run and _is_of_same_request(record, other)
    }
    return sorted(found.values(), key=lambda other: other.scheduled_at)


def _is_of_same_request(one: Record, other: Record) -> bool:
    """Return whether two runs have a request in common: by its span, or by the id that a client sent."""
    if (one.process, one.parent_trace_id) != (other.process, other.parent_trace_id):
        return False
    if one.parent_span_id is not None and one.parent_span_id == other.parent_span_id:
        return True
    request = one.request_id, one.method, one.route
    return one.request_id is not None and request == (other.request_id, other.method, other.route)
