"""The line of a run, put together as text: ``json.dumps`` would take three times as long as all the rest.

What a slot holds is the line's first part, so that whoever finds the slot only has to write the second. Stored are
names, times and ids, the outcome and why, and what may be told of the exception. Never arguments, local variables
or the input of a validation error.
"""

from __future__ import annotations

from json.encoder import encode_basestring as _quoted
from typing import Final

from ..._common import semconv
from ..._common.exceptions import exc_info, stacktrace, text
from ..._common.faults import EXITS
from ..._common.model import LOST, STATE_PENDING, STATE_RUNNING, Outcome, TaskRun
from ..._common.text import clean, middle_cut
from .layout import CAPACITY, Slot

TOLD: Final = "told"
FUNCTION: Final = "function"
INDEX: Final = "index"
PARENT: Final = "parent"
STATE: Final = "state"
PID: Final = "pid"
ERROR: Final = "error"
TRACEBACK: Final = "traceback"
SCHEDULED: Final = "scheduled_us"
STARTED: Final = "started_us"
ENDED: Final = "ended_us"
DURATION: Final = "duration_us"
THREAD_WAIT: Final = "thread_wait_us"
"""Keys of a line besides those of a log line. Times are whole microseconds; points in time, since the epoch."""

UNTOLD: Final = ord("0")
TOLD_BY_OWNER: Final = ord("1")
TOLD_BY_FINDER: Final = ord("2")
"""What the key ``told`` says: a single digit, always in the same place, that is changed in the file."""

LINE_BEGINS: Final = f'{{"{TOLD}":0,'.encode()
TOLD_AT: Final = len(LINE_BEGINS) - 2

RUN_AT: Final = len(LINE_BEGINS) + len(f'"{semconv.KEY_TASK_RUN}":"')
RUN_END: Final = RUN_AT + 32

ENCODING: Final = "utf-8", "backslashreplace"
"""How lines are encoded: the escape of a lone surrogate is JSON, too."""

MAX_TRACEBACK: Final = 8000
"""Characters of a traceback at most, so that 10,000 failures stay within reach of the 64 MiB."""

_MICROSECONDS: Final = 1e6
_MAX_FIXED: Final = 500
_MAX_KINDS: Final = 1000

# the first part
_RUN: Final = f'"{semconv.KEY_TASK_RUN}":"'
_AND_INDEX: Final = f',"{INDEX}":'
_AND_SCHEDULED: Final = f',"{SCHEDULED}":'
_AND_PARENT: Final = f',"{PARENT}":"'
_AND_REQUEST_ID: Final = f',"{semconv.KEY_REQUEST_ID}":'
# the second
_AND_TRACE: Final = f',"{semconv.KEY_TRACE_ID}":"'
_AND_SPAN: Final = f'","{semconv.KEY_SPAN_ID}":"'
_AND_STARTED: Final = f',"{STARTED}":'
_AND_ENDED: Final = f',"{ENDED}":'
_END: Final = {outcome: f',"{semconv.KEY_OUTCOME}":"{outcome}"}}\n' for outcome in (*Outcome, LOST, None)}

Kind = tuple[str, str, str | None, str | None]
_fixed: dict[Kind, str] = {}
"""What is the same in every line of a task and a route."""


def first_part(run: TaskRun) -> bytes:
    """Return what is known of a run when it is scheduled; at most ``CAPACITY`` bytes."""
    request = run.request
    kind: Kind
    if request is None:
        kind, request_id = (run.name, run.function, None, None), None
    else:
        kind, request_id = (run.name, run.function, request.method, request.route), request.request_id
    fixed = _fixed.get(kind) or _remember(kind)
    trace, scheduled = run.trace_id, int(run.scheduled_at * _MICROSECONDS)
    parent = "" if trace is None else f'{_AND_PARENT}{trace}-{run.span_id}"'
    known = f'{_RUN}{run.id}"{fixed}{_AND_INDEX}{run.index}{_AND_SCHEDULED}{scheduled}{parent}'
    if request_id is None:
        return known.encode("utf-8", "backslashreplace")
    encoded = f"{known}{_AND_REQUEST_ID}{_quoted(request_id)}".encode("utf-8", "backslashreplace")
    return encoded if len(encoded) <= CAPACITY else known.encode(*ENCODING)


def _remember(kind: Kind) -> str:
    """Put the fixed part together. Too long a text is left out, but not the name that the metrics go by."""
    if len(_fixed) >= _MAX_KINDS:
        _fixed.clear()
    task, function, method, route = kind
    fixed = f',"{semconv.KEY_TASK}":{_quoted(task)}'
    for key, value in ((semconv.KEY_METHOD, method), (semconv.KEY_ROUTE, route), (FUNCTION, function)):
        if value is not None:
            more = f',"{key}":{_quoted(clean(value))}'
            if len((fixed + more).encode(*ENCODING)) <= _MAX_FIXED:
                fixed += more
    _fixed[kind] = fixed
    return fixed


def second_part(run: TaskRun) -> bytes:
    """Return what is known of a run when it has ended, with the end of the line."""
    ended, started_at, trace = int((run.ended_at or 0.0) * _MICROSECONDS), run.started_at, run.trace_id
    ids = "" if trace is None else f'{_AND_TRACE}{trace}{_AND_SPAN}{run.span_id}"'
    started = "" if started_at is None else f"{_AND_STARTED}{int(started_at * _MICROSECONDS)}"
    thread = "" if run.thread_wait is None else _thread(run)
    why = "" if run.outcome is Outcome.SUCCEEDED else _why(run)
    written = f"{ids}{started}{thread}{why}{_AND_ENDED}{ended}{_END[run.outcome]}"
    return written.encode("utf-8", "backslashreplace")


def _thread(run: TaskRun) -> str:
    """Return the times of a thread. Without one, a run has taken from its start to its end."""
    wait, duration = run.thread_wait or 0.0, run.duration or 0.0
    return f',"{THREAD_WAIT}":{int(wait * _MICROSECONDS)},"{DURATION}":{int(duration * _MICROSECONDS)}'


def _why(run: TaskRun) -> str:
    keys = {semconv.KEY_REASON: run.reason, semconv.KEY_DETAIL: run.detail, semconv.KEY_ERROR_TYPE: run.error_type}
    known: dict[str, str] = {key: clean(str(value)) for key, value in keys.items() if value is not None}
    if run.exception is not None:
        known |= _exception(run.exception, with_traceback=run.outcome is Outcome.FAILED)
    return "".join(f',"{key}":{_quoted(value)}' for key, value in known.items())


def _exception(exc: BaseException, *, with_traceback: bool) -> dict[str, str]:
    try:
        told = exc_info(exc)
        known = {ERROR: text(told)}
        if with_traceback:
            known[TRACEBACK] = middle_cut(stacktrace(told), MAX_TRACEBACK)
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  an exception that nobody can print is no reason to lose the line
        return {}
    return known


def lost_line(slot: Slot, pid: int, found_at: float) -> bytes:
    """Return the line of a run that was in flight when its process died."""
    written = f'{_AND_TRACE}{slot.trace_id}{_AND_SPAN}{slot.span_id}"' if slot.trace_id else ""
    if slot.running:
        written += f"{_AND_STARTED}{int(slot.started_at * _MICROSECONDS)}"
    state = STATE_RUNNING if slot.running else STATE_PENDING
    ended = int(found_at * _MICROSECONDS)
    end = f'{written},"{STATE}":"{state}","{PID}":{pid}{_AND_ENDED}{ended}{_END[LOST]}'
    return LINE_BEGINS + slot.text + end.encode(*ENCODING)
