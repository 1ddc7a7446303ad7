"""Reads what the journal has written. Nothing is raised, whatever a file holds: nonsense is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..._common import semconv
from ..._common.errors.withheld import as_it_may_be_read
from ..._common.model import (
    LOST,
    RETURNED,
    SENDING,
    STARLETTE,
    STATE_PENDING,
    STATE_RUNNING,
    UNSENT,
    Outcome,
)
from . import lines
from .layout import Slot

_OUTCOMES = {*Outcome, LOST}
_MAX_MICROSECONDS = 1 << 60


@dataclass(kw_only=True, slots=True)  # frozen ones take three times as long to make
class Record:
    """What the journal says of a run. Values that are not known, or do not apply, are ``None``.

    Attributes:
        run: the run's id.
        task: the task's name.
        engine: what ran it, ``starlette`` or ``celery``.
        attempt: which attempt of Celery's it is, from 1.
        worker: the node name of Celery's worker.
        queue: the queue that Celery had it from.
        comes_again: whether somebody runs it again if its process dies, so that it is never lost.
        in_doubt: whether the broker has to be asked that, as its message was being acknowledged.
        tag: what the broker knows its message by, if it can be asked for it.
        visible_until: until when it can be asked; later, another worker may have been given the message.
        function: the function's full name.
        method: the HTTP method of its request.
        route: the route's template.
        request_id: the ``X-Request-ID`` of its request.
        scheduled_at: in seconds since the epoch, as the others.
        began_at: when its request began.
        answered_at: when the response to its request was sent, for a run that ended after it.
        started_at: for a run that has started.
        ended_at: for a run that has ended; for a lost one, when it was found.
        duration: seconds that it ran.
        thread_wait: seconds that it waited for a worker thread.
        outcome: how it ended, or ``lost``, or ``returned`` for an attempt that did not end its task; ``None`` for
            a run in flight.
        state: ``pending`` or ``running``, for a run in flight, and for a lost one at the death of its process.
        reason: why it did not succeed.
        stopped_by: the task that failed before it, for a skipped run.
        detail: what happened, as text.
        error_type: the full name of the exception's type, or the reason.
        error: the exception's text.
        traceback: the traceback of a failed run, cut in its middle.
        trace_id: the trace of its span; for one without a span, of the span it was scheduled in.
        span_id: its span, or the span it was scheduled in.
        parent_trace_id: the trace of the span it was scheduled in.
        parent_span_id: the span it was scheduled in.
        parent_sampled: whether that one is sampled.
        sampled: whether its own span is sampled; ``None`` if it had none.
        pid: the process, for a run that is in flight or lost.
        shutdown: for how many seconds the process of a lost run had been ending, if it had been told to.
        process: the id of the process, which is unique.
        alive: whether the process lives, for a run in flight; ``None`` if nobody knows.
        seen_at: the last sign of life of its process, for a run in flight.
        recovered: whether its end was told by another process than its own, and so perhaps a second time.
    """

    run: str
    task: str
    scheduled_at: float
    process: str
    engine: str = STARLETTE
    attempt: int | None = None
    worker: str | None = None
    queue: str | None = None
    comes_again: bool = False
    in_doubt: bool = False
    tag: str | None = None
    visible_until: float | None = None
    function: str | None = None
    method: str | None = None
    route: str | None = None
    request_id: str | None = None
    began_at: float | None = None
    answered_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    duration: float | None = None
    thread_wait: float | None = None
    outcome: str | None = None
    state: str | None = None
    reason: str | None = None
    stopped_by: str | None = None
    detail: str | None = None
    error_type: str | None = None
    error: str | None = None
    traceback: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_trace_id: str | None = None
    parent_span_id: str | None = None
    parent_sampled: bool = True
    sampled: bool | None = None
    pid: int | None = None
    shutdown: float | None = None
    alive: bool | None = None
    seen_at: float | None = None
    recovered: bool = False


def whole_lines(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a segment and where they begin. Zeros and torn lines are left out."""
    while (end := data.find(b"\n", start)) >= 0:
        begin = data.rfind(b"\0", start, end) + 1 or start  # a line that was torn ends in zeros
        if is_whole(data, begin, end):
            yield begin, data[begin:end]
        start = end + 1


def is_whole(data: bytes, begin: int, end: int) -> bool:
    """Return whether a line has its beginning and its end."""
    at, rest = begin + lines.TOLD_AT, begin + lines.TOLD_AT + 1
    return (
        data.startswith(lines.LINE_BEGINS[: lines.TOLD_AT], begin)
        and data[at] in (lines.UNTOLD, lines.TOLD_BY_OWNER, lines.TOLD_BY_FINDER)
        and data.startswith(b",", rest)
        and data.endswith(b"}", rest, end)
    )


def ended_among(data: bytes, runs: Mapping[str, Record], process: str) -> dict[str, Record]:
    """Return the lines in a segment that end these runs, or the attempts that they are.

    What replaces a task of Celery's has the same id, and so have its other attempts.
    """
    ended: dict[str, Record] = {}
    for _, line in whole_lines(data) if runs else ():
        run = line[lines.RUN_AT : line.find(lines.RUN_ENDS, lines.RUN_AT)].decode("ascii", "replace")
        if run in runs:
            record = parse_line(line, process, attempts=True)
            if record is not None and _is_end_of(record, runs[run]):
                ended[run] = record
    return ended


def _is_end_of(record: Record, run: Record) -> bool:
    is_same = record.scheduled_at == run.scheduled_at
    return is_same and (record.outcome != RETURNED or record.started_at == run.started_at)


def length_of_lines(data: bytes) -> int:
    """Return where the last line of a segment ends."""
    return data.rfind(b"\n") + 1


def parse_line(line: bytes, process: str, *, attempts: bool = False) -> Record | None:
    """Return the record of a run that has ended; ``None`` if the line makes no sense.

    With ``attempts``, also that of an attempt that did not end its task.
    """
    record = _parse(line, process)
    if record is None or record.ended_at is None:
        return None
    is_told = record.outcome in _OUTCOMES or (attempts and record.outcome == RETURNED)
    return record if is_told else None


def parse_slot(slot: Slot, process: str, pid: int, alive: bool | None) -> Record | None:
    """Return the record of a run in flight; ``None`` if the slot makes no sense."""
    more: dict[str, Any] = {lines.STATE: STATE_RUNNING if slot.running else STATE_PENDING, lines.PID: pid}
    if slot.running:
        started = slot.started_at * 1e6
        more[lines.STARTED] = int(started) if 0 < started < _MAX_MICROSECONDS else None
        more |= {semconv.KEY_TRACE_ID: slot.trace_id or None, semconv.KEY_SPAN_ID: slot.span_id or None}
        more[lines.SAMPLED] = slot.sampled
    record = _parse(slot.text + b"}", process, alive, **more)
    if record is not None:
        record.comes_again |= slot.acknowledgement == UNSENT
        record.in_doubt = slot.acknowledgement == SENDING
    return record


def _parse(data: bytes, process: str, alive: bool | None = None, **more: Any) -> Record | None:
    try:
        keys = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(keys, dict):
        return None
    keys |= more
    run, task, scheduled_at = (
        _text(keys, semconv.KEY_TASK_RUN),
        _text(keys, semconv.KEY_TASK),
        _seconds(keys, lines.SCHEDULED),
    )
    if not run or task is None or scheduled_at is None:
        return None
    started_at, ended_at = _seconds(keys, lines.STARTED), _seconds(keys, lines.ENDED)
    duration = _seconds(keys, lines.DURATION)
    if duration is None and started_at is not None and ended_at is not None and lines.STATE not in keys:
        duration = max(0.0, ended_at - started_at)
    trace, span, flags, *_ = [*(_text(keys, lines.PARENT) or "").split("-"), "", ""]
    own_trace = _text(keys, semconv.KEY_TRACE_ID)
    error, traceback = as_it_may_be_read(_text(keys, lines.ERROR), _text(keys, lines.TRACEBACK))
    return Record(
        run=run,
        task=task,
        scheduled_at=scheduled_at,
        process=process,
        engine=_text(keys, lines.ENGINE) or STARLETTE,
        attempt=_number(keys, lines.ATTEMPT),
        worker=_text(keys, lines.WORKER),
        queue=_text(keys, lines.QUEUE),
        comes_again=keys.get(lines.COMES_AGAIN) is True,
        tag=_text(keys, lines.TAG),
        visible_until=_seconds(keys, lines.VISIBLE_UNTIL),
        function=_text(keys, lines.FUNCTION),
        method=_text(keys, semconv.KEY_METHOD),
        route=_text(keys, semconv.KEY_ROUTE),
        request_id=_text(keys, semconv.KEY_REQUEST_ID),
        began_at=_seconds(keys, lines.BEGAN),
        answered_at=_seconds(keys, lines.ANSWERED),
        started_at=started_at,
        ended_at=ended_at,
        duration=duration,
        thread_wait=_seconds(keys, lines.THREAD_WAIT),
        outcome=_text(keys, lines.OUTCOME),
        state=_text(keys, lines.STATE),
        reason=_text(keys, semconv.KEY_REASON),
        stopped_by=_text(keys, semconv.KEY_STOPPED_BY),
        detail=_text(keys, semconv.KEY_DETAIL),
        error_type=_text(keys, semconv.KEY_ERROR_TYPE),
        error=error,
        traceback=traceback,
        trace_id=own_trace or trace or None,
        span_id=_text(keys, semconv.KEY_SPAN_ID) or span or None,
        parent_trace_id=trace or None,
        parent_span_id=span or None,
        parent_sampled=flags != lines.UNSAMPLED,
        sampled=keys.get(lines.SAMPLED) is not False if own_trace else None,
        pid=_number(keys, lines.PID),
        shutdown=_seconds(keys, lines.SHUTDOWN),
        alive=alive,
        recovered=keys.get(lines.TOLD) == 2,
    )


def _text(keys: dict[str, Any], key: str) -> str | None:
    value = keys.get(key)
    return value if isinstance(value, str) else None


def _number(keys: dict[str, Any], key: str) -> int | None:
    value = keys.get(key)
    return value if type(value) is int and 0 <= value < _MAX_MICROSECONDS else None


def _seconds(keys: dict[str, Any], key: str) -> float | None:
    microseconds = _number(keys, key)
    return None if microseconds is None else microseconds / 1e6
