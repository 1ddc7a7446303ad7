"""Plain data: a run, its request, and how far it is."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.context import Context

from .outcomes import (
    CELERY,
    FAILED,
    LOST,
    RETURNED,
    STARLETTE,
    STATE_PENDING,
    STATE_RUNNING,
    SUCCEEDED,
    Outcome,
    Reason,
    lost_detail,
)
from .text import clean_name

__all__ = [
    "CELERY",
    "FAILED",
    "LOST",
    "RETURNED",
    "SENDING",
    "SENT",
    "STARLETTE",
    "STATE_PENDING",
    "STATE_RUNNING",
    "SUCCEEDED",
    "UNSENT",
    "Outcome",
    "Reason",
    "RequestInfo",
    "TaskRun",
    "full_name",
    "lost_detail",
]


SENT: Final = 0
UNSENT: Final = 1
SENDING: Final = 2
"""How far the acknowledgement of a queue's message is, from when its task begins."""


class RequestInfo:
    """The request that a run or an error belongs to. Holds no reference to the request itself.

    ``str()`` of it is ``POST /orders/{number}``.

    Attributes:
        method: the HTTP method, ``_OTHER`` for one that is not known; ``None`` for a WebSocket.
        route: the route's template, mounts included (``/sub/items/{id}``); ``None`` where no route matched.
        request_id: the ``X-Request-ID`` header, cut to 128 visible characters; ``None`` without one.
        status: the status that was sent, if it is known when the observer is called; 403 for a WebSocket that an
            exception closed before it was accepted, other than with a code from 1011 to 1014.
        trace_id: the trace that was current in the request, 32 hexadecimal digits; ``None`` without one.
        span_id: the span that was current in the request, 16 hexadecimal digits; ``None`` without one.
        client_error: whether the reported error was answered with a 4xx, so that the client caused it.
        dropped: whether the reported error kept tasks from running.
    """

    __slots__ = (
        "_answered_at",
        "_answered_text",
        "_began_at",
        "_came",
        "_line_text",
        "_logged",
        "client_error",
        "dropped",
        "method",
        "request_id",
        "route",
        "span_id",
        "status",
        "trace_id",
    )

    method: str | None
    route: str | None
    request_id: str | None
    status: int | None
    trace_id: str | None
    span_id: str | None
    client_error: bool
    dropped: bool
    _came: tuple[str, str | None]  # its path and its client's address, of one that failed and has no route

    def __init__(
        self,
        method: str | None = None,
        route: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        *,
        client_error: bool = False,
        dropped: bool = False,
    ) -> None:
        self.method = method
        self.route = route
        self.request_id = request_id
        self.status = status
        self.trace_id = trace_id
        self.span_id = span_id
        self.client_error = client_error
        self.dropped = dropped
        self._logged = False  # whether the traceback of its error was logged
        # when it began and when its answer was sent, in seconds since the epoch
        self._began_at: float | None = None
        self._answered_at: float | None = None
        # what the journal writes of it, put together once for all of its tasks
        self._line_text: tuple[str | None, str | None, str] | None = None
        self._answered_text: str | None = None

    def __str__(self) -> str:
        return f"{self.method or 'WebSocket'} {self.route or '(no route)'}"

    def __repr__(self) -> str:
        return f"RequestInfo({self})"


class TaskRun:
    """One scheduling of a task: created by ``add_task`` or ``BackgroundTask(...)``, ended in one outcome.

    Of a task that Celery runs, each process has its own object: one where it is published, and in the worker one
    for each attempt.

    Values that are not known yet, or do not apply, are ``None``.

    Attributes:
        id: 128 random bits, 32 hexadecimal digits; Celery's id of the task if Celery runs it.
        engine: what runs it, ``starlette`` or ``celery``.
        attempt: which attempt this is, from 1; only for an attempt that Celery makes.
        name: the task's name, used as a label. The number of names is bounded; the rest are ``other``.
        function: the function's full name, unbounded in number; for spans and logs, never a label.
        request: the request that it was scheduled in.
        index: its position among the runs of the same request, from 0.
        is_async: whether Starlette awaits it on the event loop, or runs it in a worker thread.
        scheduled_at: when it was scheduled, in seconds since the epoch.
        started: whether it has started.
        started_at: when it started, in seconds since the epoch; ``None`` for a run that never ran.
        ended_at: when it ended, in seconds since the epoch.
        wait: seconds from scheduled to started, excluding the wait for a thread.
        thread_wait: seconds that it waited for a worker thread; only for a ``def`` function.
        duration: seconds that it ran, excluding the wait for a thread; ``None`` for a run that never ran.
        outcome: how it ended; ``None`` while it is pending or running.
        reason: why it did not succeed; ``None`` if it did.
        detail: what happened and what to do about it, as text; ``None`` if it succeeded.
        exception: the exception that it raised, that cancelled it, or that ended the request of a dropped run.
            Set only while observers are called.
        error_type: the full name of the exception's type (``ValueError`` for builtins), for a dropped run that of
            its request's exception; the reason if there is no exception; ``None`` if it succeeded.
        trace_id: the trace of its span, 32 hexadecimal digits; before it starts, of the span it was scheduled in.
        span_id: its span, 16 hexadecimal digits; before it starts, the span it was scheduled in.
        sampled: whether that span is sampled, so that an exemplar can link to it.
        torn_down: whether it ended outside its own context, because its coroutine was destroyed.
    """

    engine: str = STARLETTE
    attempt: int | None = None
    # Defaults on the class: most of these are never written.
    _scheduled_tick = 0.0
    _started_tick = 0.0
    _captured: Any = None
    _logged = False  # whether its traceback was logged
    _stopped_by: str | None = None  # the task that failed before it, so that it is skipped
    _destination: str | None = None  # the queue that it is published to, or came from
    _worker: str | None = None  # the node name of the worker that has it, such as celery@host
    _system: str | None = None  # the broker's, as OpenTelemetry calls it
    _publish_time = 0.0  # how long its publish took the caller, in seconds
    _held_time: float | None = None  # seconds from received by the worker to begun
    _is_skewed = False  # whether it began before it was published, by the clocks of two hosts
    _comes_again = False  # whether its message is acknowledged late, so that somebody runs it again
    _acknowledgement = SENT  # how far the acknowledgement of its message is, which is sent after it has begun
    _tag: str | None = None  # what the broker knows its message by, if it can be asked for it
    _visible_until = 0.0  # until when the broker waits for the acknowledgement, in seconds since the epoch
    _held = False  # whether a worker has received it, and it is neither begun nor over
    _metered = False  # whether OpenTelemetry's metrics have counted it as scheduled
    _around: Context | None = None

    id: str
    name: str
    function: str
    request: RequestInfo | None
    index: int
    is_async: bool
    scheduled_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    wait: float | None = None
    thread_wait: float | None = None
    duration: float | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    detail: str | None = None
    exception: BaseException | None = None
    error_type: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    sampled: bool = False
    torn_down: bool = False

    def __init__(
        self, name: str, function: str, request: RequestInfo | None, index: int, *, is_async: bool
    ) -> None:
        self.id = ""  # the ledger gives it one
        self.name = name
        self.function = function
        self.request = request
        self.index = index
        self.is_async = is_async

    @property
    def started(self) -> bool:
        """Whether it has started."""
        return self.started_at is not None

    def __repr__(self) -> str:
        return f"TaskRun({self.name}, {self.outcome or (STATE_RUNNING if self.started else STATE_PENDING)})"


def full_name(exc_or_type: Any) -> str:
    """Return the full name of an exception's type, ``ValueError`` for builtins.

    The format is OpenTelemetry's ``exception.type`` and ``error.type``.
    """
    cls = exc_or_type if isinstance(exc_or_type, type) else type(exc_or_type)
    return clean_name(cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}")
