"""The vocabulary: what a run is, how it can end, and who is told. Plain data."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from .text import clean_name

__all__ = ["Outcome", "Reason", "RequestInfo", "TaskObserver", "TaskRun"]


class Outcome(StrEnum):
    """How a run ended. Every run that was scheduled ends in exactly one of these."""

    __hash__ = str.__hash__  # equal to its text, so of equal hash, and looked up as fast

    SUCCEEDED = "succeeded"
    """The function returned."""
    FAILED = "failed"
    """The function raised, or returned something that nobody will ever run."""
    CANCELLED = "cancelled"
    """The function was cancelled or torn down while it ran."""
    SKIPPED = "skipped"
    """It never ran, because an earlier task of the same batch failed or was cancelled."""
    DROPPED = "dropped"
    """It never ran, because its request failed, was answered by an exception, or its client went away."""
    ABANDONED = "abandoned"
    """It never ran, because nothing will ever call it."""


STATE_PENDING: Final = "pending"
STATE_RUNNING: Final = "running"
"""What a run is before it has an outcome."""


class Reason(StrEnum):
    """Why a run did not succeed; a closed set, safe as a label or an attribute."""

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
    WEBSOCKET = "websocket"
    UNKNOWN = "unknown"


class RequestInfo:
    """The request that a run or an error belongs to. Holds no reference to the request itself.

    ``str()`` of it is ``POST /orders/{number}``.

    Attributes:
        method: the HTTP method, ``_OTHER`` for one that is not known; ``None`` for a WebSocket.
        route: the route's template, mounts included (``/sub/items/{id}``); ``None`` where no route matched.
        request_id: the ``X-Request-ID`` header, cut to 128 visible characters; ``None`` without one.
        status: the status that was sent, as far as it is known when the observer is told.
        trace_id: the trace that was current in the request, 32 hexadecimal digits; ``None`` without one.
        span_id: the span that was current in the request, 16 hexadecimal digits; ``None`` without one.
        dropped: whether tasks never ran because of the error that an observer is told of.
    """

    __slots__ = ("_logged", "dropped", "method", "request_id", "route", "span_id", "status", "trace_id")

    def __init__(
        self,
        method: str | None = None,
        route: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        *,
        dropped: bool = False,
    ) -> None:
        self.method = method
        self.route = route
        self.request_id = request_id
        self.status = status
        self.trace_id = trace_id
        self.span_id = span_id
        self.dropped = dropped
        self._logged = False  # a line with the traceback of its error has gone out

    def __str__(self) -> str:
        return f"{self.method or 'WebSocket'} {self.route or '(no route)'}"

    def __repr__(self) -> str:
        return f"RequestInfo({self})"


class TaskRun:
    """One scheduling of a task: born with ``add_task`` or ``BackgroundTask(...)``, ended in one outcome.

    What is not known yet, or does not apply, is ``None``.

    Attributes:
        id: 128 random bits, 32 hexadecimal digits.
        name: the task's name: a label, bounded in number (``other`` beyond the bound).
        function: the function's own full name, unbounded in number: for spans and logs, never a label.
        request: the request that it was scheduled in.
        index: its place among the runs of the same request, from 0.
        is_async: whether it is awaited on the event loop, or run in a worker thread; Starlette's verdict.
        scheduled_at: when it was scheduled, in seconds since the epoch.
        started: whether it was ever begun.
        started_at: when it began, in seconds since the epoch; ``None`` for a run that never ran.
        ended_at: when it came to its outcome, in seconds since the epoch.
        wait: seconds from scheduled to started, without the wait for a thread.
        thread_wait: seconds that it waited for a worker thread; only for a function that is not async.
        duration: seconds that it ran, without the wait for a thread; ``None`` for a run that never ran.
        outcome: how it ended; ``None`` while it is pending or running.
        reason: why it did not succeed; ``None`` where it did.
        detail: what happened, in prose, and what to do about it; ``None`` where it succeeded.
        exception: what it raised, what cancelled it, or what the request of a dropped one ended in, while
            observers are told; ``None`` again afterwards.
        error_type: the full name of the exception's type (``ValueError`` for builtins); the reason for a failure
            without an exception.
        trace_id: the trace of its span, 32 hexadecimal digits; until it begins, of the span it was scheduled in.
        span_id: its span, 16 hexadecimal digits; until it begins, the span it was scheduled in.
        sampled: whether its span is sampled, so that an exemplar can link to it.
        torn_down: whether it ended outside its own context, since its coroutine was destroyed.
    """

    # What a run does not know yet stands here, on the class: most of it is never written.
    _scheduled_tick = 0.0
    _started_tick = 0.0
    _captured: Any = None
    _logged = False  # a line with its traceback has gone out
    _around: Any = None

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
        """Whether it was ever begun."""
        return self.started_at is not None

    def __repr__(self) -> str:
        return f"TaskRun({self.name}, {self.outcome or (STATE_RUNNING if self.started else STATE_PENDING)})"


class TaskObserver:
    """Told of every transition of every run; override what you need.

    Each method is called synchronously, so it must be quick: what called ``add_task`` waits for ``scheduled``, the
    batch waits for ``started`` and ``ended`` before it goes on, and with it the event loop. Each is told of a run
    at most once. An observer that raises is logged once and counted; it disturbs neither the task nor the other
    observers, whatever it raises: only ``KeyboardInterrupt`` and ``SystemExit`` pass, since they end the process.
    Tasks that an observer schedules are not accounted for.
    """

    def scheduled(self, run: TaskRun) -> None:
        """Take note that a run was scheduled.

        Every run begins with this, in ``add_task`` or ``BackgroundTask(...)`` itself and in the thread that called
        it: a worker thread, if a ``def`` endpoint did.
        """

    def started(self, run: TaskRun) -> None:
        """Take note that a run begins.

        For a run that will succeed, fail or be cancelled; on the event loop's thread and in the context the task
        runs in, just before the function is called, or before a ``def`` function begins to wait for its thread.
        """

    def ended(self, run: TaskRun) -> None:
        """Take note of the outcome, ``run.outcome``.

        Once for each run, whatever the outcome. After ``started`` (``succeeded``, ``failed``, ``cancelled``): on
        the event loop's thread, when the function has come to its end, before ``on_task_failure`` and before the
        next task of the batch. Without it (``skipped``, ``dropped``, ``abandoned``): when the run is given up,
        right after the task that it was behind or at the end of its request. Where only the end of an object
        shows it (an abandoned task, a coroutine that was destroyed): within seconds, in whichever thread comes
        upon it.
        """

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Take note of a request that failed, or was answered by an exception (a 4xx, too).

        Once per error, on the event loop's thread: when the error response has gone out, or at the end of the
        request where there is none. Where a handler or a middleware raised while it handled another error, ``exc``
        is what it raised, since the answer is owed to that. ``on_request_error`` follows it.
        """

    def tearing_down(self, run: TaskRun) -> None:
        """Take note that a running task's coroutine is being destroyed, perhaps by the garbage collector.

        Whatever lock there is may be held by this very thread: take none. ``ended`` comes later, elsewhere.
        """

    def observer_failed(self, observer: str) -> None:
        """Take note that an observer raised; ``observer`` is its class's name."""


def full_name(exc_or_type: Any) -> str:
    """Return the full name of an exception's type, ``ValueError`` for builtins.

    The format is OpenTelemetry's ``exception.type`` and ``error.type``.
    """
    cls = exc_or_type if isinstance(exc_or_type, type) else type(exc_or_type)
    return clean_name(cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}")
