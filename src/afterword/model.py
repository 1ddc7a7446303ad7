"""The vocabulary: what a run is, how it can end, and who is told. Plain data."""

from __future__ import annotations

import os
from enum import StrEnum
from random import Random
from typing import Any

from .outside import clean_name

__all__ = ["Outcome", "Reason", "RequestInfo", "TaskObserver", "TaskRun"]


# one of our own, since an application may seed the common one, and seeded anew in every forked process
_random = Random()  # noqa: S311  for ids, not for secrets
os.register_at_fork(after_in_child=_random.seed)


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
    """The request that a run or an error belongs to. Holds no reference to the request itself."""

    __slots__ = ("_logged", "method", "request_id", "route", "span_id", "status", "trace_id")

    def __init__(
        self,
        method: str | None = None,
        route: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
    ) -> None:
        self.method = method
        """The HTTP method, ``_OTHER`` for one that is not known; ``None`` for a WebSocket."""
        self.route = route
        """The route's template, mounts included (``/sub/items/{id}``); ``None`` where no route matched."""
        self.request_id = request_id
        """The ``X-Request-ID`` header, cut to 128 visible characters."""
        self.status = status
        """The status that was sent, as far as it is known when the observer is told."""
        self.trace_id = trace_id
        """The trace that was current in the request, 32 hexadecimal digits."""
        self.span_id = span_id
        """The span that was current in the request, 16 hexadecimal digits."""
        self._logged = False  # a line with the traceback of its error has gone out

    def __repr__(self) -> str:
        return f"RequestInfo({self.method} {self.route})"


class TaskRun:
    """One scheduling of a task: born with ``add_task`` or ``BackgroundTask(...)``, ended in one outcome.

    Times are seconds; the ``*_at`` times are since the epoch. What is not known yet is ``None``.
    """

    # What a run does not know yet stands here, on the class: most of it is never written.
    _scheduled_tick = 0.0
    _started_tick = 0.0
    _seen: Any = None
    _logged = False  # a line with its traceback has gone out
    _around: Any = None

    id: str
    """128 random bits as hexadecimal digits."""
    name: str
    """The task's name: a label, bounded in number (``other`` beyond the bound)."""
    function: str
    """The function's own full name, unbounded: for spans and logs, never a label."""
    request: RequestInfo | None
    """The request it was scheduled in."""
    index: int
    """Its place among the runs of the same request, from 0."""
    is_async: bool
    """Starlette's verdict: awaited on the event loop, or run in a worker thread."""
    scheduled_at = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    wait: float | None = None
    """From scheduled to started."""
    thread_wait: float | None = None
    """Waiting for a worker thread; only for functions that are not async."""
    duration: float | None = None
    """Running, without the wait for a thread; ``None`` for a run that never ran."""
    outcome: Outcome | None = None
    reason: Reason | None = None
    detail: str | None = None
    """What happened, in prose, and what to do about it."""
    exception: BaseException | None = None
    """The exception, while observers are told; ``None`` again afterwards."""
    error_type: str | None = None
    """The exception's full name (``ValueError`` for builtins); the reason for a failure without one."""
    trace_id: str | None = None
    span_id: str | None = None
    sampled = False
    """Whether its span is sampled, so that an exemplar can link to it."""
    torn_down = False
    """Ended outside its own context (its coroutine was closed or collected)."""

    def __init__(
        self, name: str, function: str, request: RequestInfo | None, index: int, *, is_async: bool
    ) -> None:
        self.id = f"{_random.getrandbits(128):032x}"
        self.name = name
        self.function = function
        self.request = request
        self.index = index
        self.is_async = is_async

    @property
    def started(self) -> bool:
        """Whether the run was ever begun."""
        return self.started_at is not None

    def __repr__(self) -> str:
        return f"TaskRun({self.name}, {self.outcome or ('running' if self.started else 'pending')})"


class TaskObserver:
    """Told of every transition of every run; override what you need.

    ``scheduled`` is called where ``add_task`` was called, which may be a worker thread; ``started`` and
    ``ended`` on the event loop's side, except for a run whose task object was destroyed elsewhere. They are
    called synchronously, so they must be quick. An observer that raises is logged once and counted; it
    disturbs neither the task nor the other observers, whatever it raises: only ``KeyboardInterrupt`` and
    ``SystemExit`` pass, since they end the process. Tasks that an observer schedules are not accounted for.
    """

    def scheduled(self, run: TaskRun) -> None:
        """Take note that a run was scheduled."""

    def started(self, run: TaskRun) -> None:
        """Take note that a run begins; called in the context the task runs in."""

    def ended(self, run: TaskRun) -> None:
        """Take note of the outcome, ``run.outcome``; called once per run."""

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Take note of a request that failed; called once per error, after the response."""

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
