"""A run's keys and values for a program: those of log lines where they have one, and times in UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

from .._common import semconv
from .._common.errors.exceptions import from_record
from .._common.model import LOST
from .._common.text import clean
from .._ledger.journal import lines
from .._ledger.journal.records import Record

MAX_IN_LIST: Final = 500
"""Characters of a text in a list at most, so that 500 runs stay below a megabyte."""


def iso(seconds: float | None) -> str | None:
    """Return a point in time for a program: ISO 8601, in UTC."""
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError, OSError):  # no date of the calendar
        return "?"


def keys_of(record: Record) -> dict[str, Any]:
    """Return what is known of a run, by the keys of log lines where they have one."""
    wait = None if record.started_at is None else max(0.0, record.started_at - record.scheduled_at)
    return {
        semconv.KEY_TASK_RUN: record.run,
        semconv.KEY_TASK: record.task,
        lines.ENGINE: record.engine,
        lines.ATTEMPT: record.attempt,
        lines.WORKER: record.worker,
        lines.QUEUE: record.queue,
        lines.OUTCOME: record.outcome,
        lines.STATE: record.state,
        "alive": record.alive,
        semconv.KEY_REASON: record.reason,
        semconv.KEY_STOPPED_BY: record.stopped_by,
        semconv.KEY_DETAIL: record.detail,
        semconv.KEY_ERROR_TYPE: record.error_type,
        lines.ERROR: record.error,
        semconv.KEY_METHOD: record.method,
        semconv.KEY_ROUTE: record.route,
        semconv.KEY_REQUEST_ID: record.request_id,
        "scheduled_at": iso(record.scheduled_at),
        "started_at": iso(record.started_at),
        "ended_at": iso(record.ended_at),
        semconv.KEY_WAIT: None if wait is None else round(wait, 6),
        semconv.KEY_THREAD_WAIT: record.thread_wait,
        semconv.KEY_DURATION: None if record.duration is None else round(record.duration, 6),
        semconv.KEY_TRACE_ID: record.trace_id,
        semconv.KEY_SPAN_ID: record.span_id,
        "parent_trace_id": record.parent_trace_id,
        "parent_span_id": record.parent_span_id,
        lines.FUNCTION: record.function,
        lines.PID: record.pid,
        semconv.KEY_SHUTDOWN: record.shutdown,
        "process": record.process,
        semconv.KEY_RECOVERED: record.recovered or None,
        lines.TRACEBACK: record.traceback,
    }


def keys_of_one(record: Record, now: float) -> dict[str, Any]:
    """Return everything that is told of a run, whatever its file holds: with its traceback, in bounds."""
    keys = keys_of(record)
    for name, value in keys.items():
        if type(value) is str:
            keys[name] = from_record(value) if name in (lines.ERROR, lines.TRACEBACK) else clean(value)
    return known(keys | state_and_age(record, now))


def in_bounds(keys: dict[str, Any]) -> dict[str, Any]:
    """Return keys and values without those that are not known, and with texts that are safe and not too long."""
    return {
        key: clean(value, MAX_IN_LIST) if type(value) is str else value
        for key, value in keys.items()
        if value is not None
    }


def known(keys: dict[str, Any]) -> dict[str, Any]:
    """Return keys and values without those that are not known."""
    return {key: value for key, value in keys.items() if value is not None}


def keys_in_list(record: Record, now: float) -> dict[str, Any]:
    """Return what a list tells of a run: what is known, without the traceback, and with its age in flight."""
    keys = keys_of(record) | state_and_age(record, now)
    del keys[lines.TRACEBACK]
    if record.error is not None:
        keys[lines.ERROR] = from_record(record.error)
    return in_bounds(keys)


def state_and_age(record: Record, now: float) -> dict[str, Any]:
    """Return the state and the age of a run in flight; nothing for one that has ended."""
    if record.outcome is not None:
        return {}
    seconds = age(record, now)
    return {lines.STATE: state(record), semconv.KEY_AGE: None if seconds is None else round(seconds, 3)}


def age(record: Record, now: float) -> float | None:
    """Return the age of a run: the clock of a dead process's run stopped with its process."""
    end = record.seen_at if record.alive is False else now
    if end is None or not math.isfinite(end):
        return None
    return max(0.0, end - record.scheduled_at)


def state(record: Record) -> str:
    """Return what a run is doing; one whose process is dead is lost."""
    return LOST if record.alive is False else record.state or ""
