"""The line of a run, put together as text: ``json.dumps`` would take three times as long as all the rest.

What a slot holds is the line's first part, so that whoever finds the slot only has to write the second. Stored are
names, times and ids, the outcome and why, and what may be told of the exception. Never arguments, local variables
or the input of a validation error.
"""

from __future__ import annotations

from json.encoder import encode_basestring as _quoted
from math import floor
from typing import Final

from ..._common import semconv
from ..._common.errors.exceptions import exc_info, stacktrace, text
from ..._common.faults import EXITS
from ..._common.model import (
    LOST,
    RETURNED,
    STARLETTE,
    STATE_PENDING,
    STATE_RUNNING,
    SUCCEEDED,
    Outcome,
    Reason,
    RequestInfo,
    TaskRun,
)
from ..._common.text import clean, clean_name, middle_cut
from .layout import Slot

TOLD: Final = "told"
OUTCOME: Final = "outcome"
FUNCTION: Final = "function"
ENGINE: Final = "engine"
ATTEMPT: Final = semconv.KEY_ATTEMPT
WORKER: Final = "worker"
QUEUE: Final = "queue"
COMES_AGAIN: Final = "comes_again"
TAG: Final = "tag"
VISIBLE_UNTIL: Final = "visible_until_us"
PARENT: Final = "parent"
SAMPLED: Final = "sampled"
STATE: Final = semconv.KEY_STATE
PID: Final = semconv.KEY_PID
ERROR: Final = "error"
TRACEBACK: Final = semconv.KEY_TRACEBACK
SCHEDULED: Final = "scheduled_us"
STARTED: Final = "started_us"
ENDED: Final = "ended_us"
BEGAN: Final = "began_us"
ANSWERED: Final = "answered_us"
DURATION: Final = "duration_us"
THREAD_WAIT: Final = "thread_wait_us"
SHUTDOWN: Final = "shutdown_us"
"""Keys of a line besides those of a log line. Times are whole microseconds; points in time, since the epoch."""

UNTOLD: Final = ord("0")
TOLD_BY_OWNER: Final = ord("1")
TOLD_BY_FINDER: Final = ord("2")
"""What the key ``told`` says: a single digit, always in the same place, that is changed in the file."""

UNSAMPLED: Final = "00"
"""The last part of a parent, as of a ``traceparent``, if it is not sampled."""

LINE_BEGINS: Final = f'{{"{TOLD}":0,'.encode()
TOLD_AT: Final = len(LINE_BEGINS) - 2

RUN_AT: Final = len(LINE_BEGINS) + len(f'"{semconv.KEY_TASK_RUN}":"')
RUN_ENDS: Final = b'"'
"""Where a run's id is in a line, and what follows it."""

ENCODING: Final = "utf-8", "backslashreplace"
"""How lines are encoded: the escape of a lone surrogate is JSON, too."""

MAX_TRACEBACK: Final = 8000
"""Characters of a traceback at most, so that 10,000 failures stay within reach of the 64 MiB."""

_MICROSECONDS: Final = 1e6
_MAX_FIXED: Final = 500
_MAX_KINDS: Final = 1000

# the first part
_BEGINS: Final = f'{{"{TOLD}":0,"{semconv.KEY_TASK_RUN}":"'
_AND_PARENT: Final = f',"{PARENT}":"'
_FLAGS: Final = f'-{UNSAMPLED}"', '-01"'
_AND_REQUEST_ID: Final = f',"{semconv.KEY_REQUEST_ID}":'
_AND_BEGAN: Final = f',"{BEGAN}":'
# the second
_AND_TRACE: Final = f',"{semconv.KEY_TRACE_ID}":"'
_AND_SPAN: Final = f'","{semconv.KEY_SPAN_ID}":"'
_AND_SAMPLED: Final = f'","{SAMPLED}":false', '"'
_AND_STARTED: Final = f',"{STARTED}":'
_AND_ANSWERED: Final = f',"{ANSWERED}":'
_AND_ENDED: Final = f',"{ENDED}":'
_AND_OUTCOME: Final = f',"{OUTCOME}":"'
_SUCCEEDED: Final = f'{_AND_OUTCOME}{Outcome.SUCCEEDED}"}}\n'

INTERRUPTED: Final = "the worker, process {pid}, died while it ran; its message comes again"
_UNTOLD_BEGINS: Final = f'{{"{TOLD}":0'
_TOLD_BEGINS: Final = f'{{"{TOLD}":1'
RETURNED_ENDS: Final = f'{_AND_OUTCOME}{RETURNED}"}}\n'.encode()
"""How the line of an attempt ends that did not end its task; no other line has this in it."""

Kind = tuple[str, str, str | None, str | None]
_fixed: dict[Kind, str] = {}
"""What is the same in every line of a task and a route."""


def first_part(run: TaskRun, *, short: bool = False) -> str:
    """Return the beginning of a line, with what is known when a run is scheduled.

    It is for a slot, too, which it always fits if it is ``short``.
    """
    request, scheduled = run.request, floor(run.scheduled_at * _MICROSECONDS)
    kind: Kind
    if request is None:
        kind, known = (run.name, run.function, None, None), _parent(run)
    else:
        kind, cached = (run.name, run.function, request.method, request.route), request._line_text
        if short:
            known = _of_request(run, request, short=True)
        elif cached is not None and cached[0] is run.trace_id and cached[1] is run.span_id:  # as of most, at once
            known = cached[2]
        else:
            known = _of_request(run, request)
            request._line_text = run.trace_id, run.span_id, known
    return f'{_BEGINS}{run.id}"{_fixed.get(kind) or _remember(kind)}{scheduled}{known}'


def _parent(run: TaskRun) -> str:
    return "" if run.trace_id is None else f"{_AND_PARENT}{run.trace_id}-{run.span_id}{_FLAGS[run.sampled]}"


def _of_request(run: TaskRun, request: RequestInfo, *, short: bool = False) -> str:
    """Return what is the same for all runs of a request that are scheduled in one span."""
    began = "" if request._began_at is None else f"{_AND_BEGAN}{floor(request._began_at * _MICROSECONDS)}"
    request_id = "" if request.request_id is None or short else f"{_AND_REQUEST_ID}{_quoted(request.request_id)}"
    return f"{began}{_parent(run)}{request_id}"


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
    fixed += f',"{SCHEDULED}":'
    _fixed[kind] = fixed
    return fixed


def engine_part(run: TaskRun, *, short: bool = False) -> str:
    """Return what the first part says of a run that another engine runs than Starlette."""
    if run.engine == STARLETTE:
        return ""
    known = f',"{ENGINE}":{_quoted(run.engine)}'
    if run._comes_again:
        known += f',"{COMES_AGAIN}":true'
    if run.attempt is not None:
        known += f',"{ATTEMPT}":{run.attempt}'
    for key, value in () if short else ((WORKER, run._worker), (QUEUE, run._destination)):
        if isinstance(value, str):
            known += f',"{key}":{_quoted(clean_name(value))}'
    return known


def message_part(run: TaskRun) -> str:
    """Return what a slot says besides: how the broker can be asked whether it has the message still."""
    if run._tag is None:
        return ""
    until = floor(run._visible_until * _MICROSECONDS)
    return f',"{TAG}":{_quoted(clean_name(run._tag))},"{VISIBLE_UNTIL}":{until}'


def returned_line(run: TaskRun) -> bytes:
    """Return the line of an attempt that did not end its task. Nobody has to tell it again."""
    first = (first_part(run) + engine_part(run)).replace(_UNTOLD_BEGINS, _TOLD_BEGINS, 1)
    began = f"{_AND_STARTED}{floor((run.started_at or 0.0) * _MICROSECONDS)}"
    ended = f"{_AND_ENDED}{floor((run.ended_at or 0.0) * _MICROSECONDS)}"
    return encoded(f"{first}{began}{_why(run)}{ended}{RETURNED_ENDS.decode()}")


def line(first: str, run: TaskRun) -> bytes:
    """Return the whole line of a run that has ended, from what was known when it was scheduled."""
    ended, started_at, trace = floor((run.ended_at or 0.0) * _MICROSECONDS), run.started_at, run.trace_id
    succeeded = run.outcome is SUCCEEDED and run.thread_wait is None
    request = run.request
    if request is not None and request._answered_at is not None:
        if (answered := request._answered_text) is None:
            answered = f"{_AND_ANSWERED}{floor(request._answered_at * _MICROSECONDS)}"
            request._answered_text = answered
        first += answered
    if succeeded and trace is not None and started_at is not None:  # most of them, at once
        span, started = f"{run.span_id}{_AND_SAMPLED[run.sampled]}", floor(started_at * _MICROSECONDS)
        text = f"{first}{_AND_TRACE}{trace}{_AND_SPAN}{span}{_AND_STARTED}{started}{_AND_ENDED}{ended}{_SUCCEEDED}"
    else:
        known = "" if trace is None else f"{_AND_TRACE}{trace}{_AND_SPAN}{run.span_id}{_AND_SAMPLED[run.sampled]}"
        if started_at is not None:
            known += f"{_AND_STARTED}{floor(started_at * _MICROSECONDS)}{_thread(run)}"
        why = "" if succeeded else _why(run)
        text = f'{first}{known}{why}{_AND_ENDED}{ended}{_AND_OUTCOME}{run.outcome}"}}\n'
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(*ENCODING)


def encoded(text: str) -> bytes:
    """Return a text as it is in a file. The escape of a lone surrogate is JSON, too."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(*ENCODING)


def _thread(run: TaskRun) -> str:
    """Return the times of a thread. Without one, a run has taken from its start to its end."""
    if run.thread_wait is None:
        return ""
    wait, duration = floor(run.thread_wait * _MICROSECONDS), floor((run.duration or 0.0) * _MICROSECONDS)
    return f',"{THREAD_WAIT}":{wait},"{DURATION}":{duration}'


def _why(run: TaskRun) -> str:
    keys = {
        semconv.KEY_REASON: run.reason,
        semconv.KEY_STOPPED_BY: run._stopped_by,
        semconv.KEY_DETAIL: run.detail,
        semconv.KEY_ERROR_TYPE: run.error_type,
    }
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


def interrupted_line(slot: Slot, pid: int, found_at: float) -> bytes:
    """Return the line of an attempt that died with its process, and whose message comes again: nobody tells it."""
    first = slot.text.replace(_UNTOLD_BEGINS.encode(), _TOLD_BEGINS.encode(), 1)
    why = {semconv.KEY_REASON: str(Reason.WORKER_LOST), semconv.KEY_DETAIL: INTERRUPTED.format(pid=pid)}
    written = "".join(f',"{key}":{_quoted(value)}' for key, value in why.items())
    began = floor(slot.started_at * _MICROSECONDS)
    written += f"{_AND_STARTED}{began}{_AND_ENDED}{floor(found_at * _MICROSECONDS)}"
    return first + written.encode() + RETURNED_ENDS


def lost_line(slot: Slot, pid: int, found_at: float, shutdown: float | None = None) -> bytes:
    """Return the line of a run that was in flight when its process died.

    ``shutdown`` says for how many seconds that had been ending, if it had been told to.
    """
    span = f"{slot.span_id}{_AND_SAMPLED[slot.sampled]}"
    written = f"{_AND_TRACE}{slot.trace_id}{_AND_SPAN}{span}" if slot.trace_id else ""
    if slot.running:
        written += f"{_AND_STARTED}{floor(slot.started_at * _MICROSECONDS)}"
    state = STATE_RUNNING if slot.running else STATE_PENDING
    ended = floor(found_at * _MICROSECONDS)
    if shutdown is not None:
        written += f',"{SHUTDOWN}":{floor(shutdown * _MICROSECONDS)}'
    end = f'{written},"{STATE}":"{state}","{PID}":{pid}{_AND_ENDED}{ended}{_AND_OUTCOME}{LOST}"}}\n'
    return slot.text + end.encode(*ENCODING)
