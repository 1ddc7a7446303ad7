"""A run's keys and values for a program: those of log lines where they have one, and times in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .._common import semconv
from .._ledger.journal import lines
from .._ledger.journal.records import Record


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
        lines.OUTCOME: record.outcome,
        lines.STATE: record.state,
        "alive": record.alive,
        semconv.KEY_REASON: record.reason,
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
        "process": record.process,
        semconv.KEY_RECOVERED: record.recovered or None,
        lines.TRACEBACK: record.traceback,
    }
