"""Plain data: a run, how it can end, and the observers that are told."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from opentelemetry.context import Context

from .text import clean_name

__all__ = ["Outcome", "Reason", "RequestInfo", "TaskObserver", "TaskRun"]


class Outcome(StrEnum):
    """How a run ended. Every run that was scheduled ends in exactly one of these."""

    __hash__ = str.__hash__  # equal to its text, so it needs the same hash; this one is as fast

    SUCCEEDED = "succeeded"
    """The function returned."""
    FAILED = "failed"
    """The function raised, or returned something that nothing will ever run."""
    CANCELLED = "cancelled"
    """The function was cancelled or torn down while it ran."""
    SKIPPED = "skipped"
    """It never ran, because an earlier task of the same batch failed or was cancelled."""
    DROPPED = "dropped"
    """It never ran, because its request failed, was answered by an exception, or lost its client."""
    ABANDONED = "abandoned"
    """It never ran, because nothing will ever call it."""


STATE_PENDING: Final = "pending"
STATE_RUNNING: Final = "running"
"""The state of a run that has not ended."""

LOST: Final = "lost"
"""What became of a run that had not ended when its process died. No outcome: nobody saw it end."""


def lost_detail(state: str | None, pid: int | None) -> str:
    """Return what happened to a lost run, and what to do about it."""
    advice = "nothing runs it again; if it must survive that, use a queue"
    if state == STATE_PENDING:
        return f"process {pid} died before it began, so nothing of it was done; {advice}"
    return f"process {pid} died while it ran, and nobody knows how far it came; {advice}"


class Reason(StrEnum):
    """Why a run did not succeed. A closed set, safe as a label or an attribute."""

    EXCEPTION = "exception"
    NEVER_AWAITED = "never_awaited"
    CANCELLED = "cancelled"
    EARLIER_TASK_FAILED = "earlier_task_failed"
    EARLIER_TASK_CANCELLED = "earlier_task_cancelled"
    REQUEST_FAILED = "request_failed"
    CLIENT_DISCONNECTED = "client_disconnected"
    NEVER_ATTACHED = "never_attached"
    RESPONSE_REPLACED = "response_replaced"
    ADDED_TOO_LATE = "added_too_late"
    REMOVED = "removed"
    WEBSOCKET = "websocket"
    UNKNOWN = "unknown"


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
        "_began_at",
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

    def __str__(self) -> str:
        return f"{self.method or 'WebSocket'} {self.route or '(no route)'}"

    def __repr__(self) -> str:
        return f"RequestInfo({self})"


class TaskRun:
    """One scheduling of a task: created by ``add_task`` or ``BackgroundTask(...)``, ended in one outcome.

    Values that are not known yet, or do not apply, are ``None``.

    Attributes:
        id: 128 random bits, 32 hexadecimal digits.
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

    # Defaults on the class: most of these are never written.
    _scheduled_tick = 0.0
    _started_tick = 0.0
    _captured: Any = None
    _logged = False  # whether its traceback was logged
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


class TaskObserver:
    """Called for every transition of every run. Override the methods you need.

    Methods are called synchronously, so keep them quick: the caller of ``add_task`` waits for ``scheduled``, and
    the batch waits for ``started`` and ``ended``, and the event loop with it. Each method is called at most once
    per run. If an observer raises, the error is logged once and counted, and neither the task nor the other
    observers are affected. Only ``KeyboardInterrupt`` and ``SystemExit`` pass, because they end the process. Tasks
    that an observer schedules are not tracked.
    """

    def scheduled(self, run: TaskRun) -> None:
        """A run was scheduled.

        Called once for every run, inside ``add_task`` or ``BackgroundTask(...)`` and in the calling thread, which
        is a worker thread for a ``def`` endpoint.
        """

    def started(self, run: TaskRun) -> None:
        """A run starts.

        Called for a run that will succeed, fail or be cancelled, on the event loop's thread and in the task's own
        context: just before the function is called, or before a ``def`` function waits for its thread.
        """

    def ended(self, run: TaskRun) -> None:
        """A run ended; ``run.outcome`` says how.

        Called once for every run. For a run that started (``succeeded``, ``failed``, ``cancelled``): on the event
        loop's thread, when the function has ended, before ``on_task_failure`` and before the next task of the
        batch. For a run that never started (``skipped``, ``dropped``, ``abandoned``): right after the earlier task
        that stopped the batch, or at the end of the request. For an abandoned task or a destroyed coroutine,
        which are noticed only when the object is collected: within seconds, in any thread.
        """

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """A request failed, or was answered by an exception (including a 4xx).

        Called once per error, on the event loop's thread: after the error response was sent, or at the end of the
        request if there is none. If a handler or a middleware raised while it handled another error, ``exc`` is
        the exception it raised, because that determines the response. ``on_request_error`` is called next.
        """

    def tearing_down(self, run: TaskRun) -> None:
        """A running task's coroutine is being destroyed, perhaps by the garbage collector.

        This thread may already hold any lock, so take none. ``ended`` is called later, elsewhere.
        """

    def observer_failed(self, observer: str) -> None:
        """An observer raised; ``observer`` is the name of its class."""


def full_name(exc_or_type: Any) -> str:
    """Return the full name of an exception's type, ``ValueError`` for builtins.

    The format is OpenTelemetry's ``exception.type`` and ``error.type``.
    """
    cls = exc_or_type if isinstance(exc_or_type, type) else type(exc_or_type)
    return clean_name(cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}")
