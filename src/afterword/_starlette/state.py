"""Plain records of a request, its batches and tasks, and its errors.

Nothing is stored on the user's objects. A weak reference to a task or batch holds its run, so copies and pickles
of a task are the same as without us. ``on_collected``, passed when a record is created, is called when its task is
collected.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, Token
from time import time
from typing import Any, Final

from opentelemetry.context import Context as SpanContext
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.types import ASGIApp, Scope

from .._common import forks, semconv
from .._common.context import current_ids, take_back
from .._common.http_request import http_method
from .._common.model import RequestInfo, TaskRun, full_name
from .._ledger.instrumentation import Instrumentation

SCOPE_KEY: Final = semconv.SCOPE  # of the request in an ASGI scope, by which a mounted application finds it

ERROR: Final = "error"
CANCELLED: Final = "cancelled"
DISCONNECTED: Final = "disconnected"

# --- tasks and batches, found again by their objects ------------------------------------------------------------


class BatchRecord(weakref.ref[BackgroundTasks]):
    """The record of one ``BackgroundTasks``, while it or one of its tasks is alive."""

    __slots__ = ("__dict__", "called", "finished", "injected", "key", "request")

    key: int
    request: RequestState
    injected: bool
    """FastAPI created it for a parameter of the endpoint or of a dependency."""
    called: bool
    finished: bool
    failed: TaskRun | None = None
    """The member that failed or was cancelled, for a batch with its own way of running members."""


class TaskRecord(weakref.ref[BackgroundTask]):
    """The record of one ``BackgroundTask``: its request, its batch and its latest run."""

    # Rarely set attributes have defaults on the class; setting one creates an instance dictionary.
    __slots__ = ("__dict__", "batch", "key", "request", "run")

    key: int
    request: RequestState
    run: TaskRun | None
    batch: BatchRecord | None
    failure: RequestFailure | FailureSummary | None = None
    """The error that ended its request before the task could start."""
    removed = False
    """The user took it out of its batch."""
    marked: bool | None = None
    """It asks to run on request errors: known since an error came; ``None`` if the task was gone by then."""
    no_alert = False
    """It is a callback itself: its own failure calls no other."""
    on_error_response = False
    """It belongs to an error response. If it never runs, that response was never sent."""


_tasks: dict[int, TaskRecord] = {}
_batches: dict[int, BatchRecord] = {}


find_task: Final[Callable[[int], TaskRecord | None]] = _tasks.get
"""Return the record of a task by its ``id``, if its creation was observed."""
forget_task: Final[Callable[[int, None], TaskRecord | None]] = _tasks.pop
find_batch: Final[Callable[[int], BatchRecord | None]] = _batches.get
"""Return the record of a batch by its ``id``, if its creation was observed."""


def task_record(
    task: BackgroundTask,
    request: RequestState,
    batch: BatchRecord | None,
    on_collected: Callable[[TaskRecord], None],
    *,
    found: bool = False,
) -> TaskRecord:
    """Create a record; ``found`` says whether ``find_task`` finds it, for as long as its task is alive."""
    record = TaskRecord(task, on_collected)
    key = record.key = id(task)
    record.request = request
    record.run = None
    record.batch = batch
    if found:
        _tasks[key] = record
    return record


def remember_batch(batch: BackgroundTasks, request: RequestState, *, injected: bool) -> BatchRecord:
    """Create the record of a batch."""
    record = BatchRecord(batch, _forget_batch)
    key = record.key = id(batch)
    record.request = request
    record.injected = injected
    record.called = record.finished = False
    _batches[key] = record
    return record


def members_of(batch: object) -> tuple[Any, ...]:
    """Return the tasks that a batch has now; none of what can be walked only once, as that is for its caller."""
    tasks: Any = getattr(batch, "tasks", None)
    return () if tasks is None or hasattr(tasks, "__next__") else tuple(tasks)


def _forget_batch(record: BatchRecord) -> None:
    _batches.pop(record.key, None)


def batches_of(request: RequestState) -> list[BackgroundTasks]:
    """Return the batches of a request that are alive."""
    records = list(_batches.values())  # a thread may make more
    return [batch for known in records if known.request is request and (batch := known()) is not None]


# --- errors -----------------------------------------------------------------------------------------------------


class FailureSummary:
    """The part of a failure that is kept with a task that may still be called, without its exception."""

    __slots__ = ("before_response", "broke_off", "error_type", "exc", "kind")

    def __init__(self, failure: RequestFailure) -> None:
        self.kind, self.error_type, self.exc = failure.kind, failure.error_type, None
        self.before_response, self.broke_off = failure.before_response, failure.broke_off


class RequestFailure:
    """One exception that reached the exception middleware, and how far it has been handled."""

    before_response: bool
    """It was raised before the response began, so a handler or a middleware could still respond."""
    broke_off: bool
    """It was raised when the response had begun, and before it was complete."""
    reached: BaseException | None
    """The exception as it was last caught, perhaps in a group; it holds the frames."""

    def __init__(self, exc: BaseException, kind: str) -> None:
        self.exc = exc
        """What the answer is owed to, and is told: of several that came of each other, the last."""
        self.known = [exc]  # those before it, and itself
        self.kind = kind
        self.traceback = exc.__traceback__
        """The traceback, which Starlette removes from an exception that it has handled."""
        self.reported = False
        self.logged = False  # its traceback was logged
        self.inside = False  # it was reported by a mounted application
        self.answered = False  # the user's ``on_request_error`` was called for it
        self.dropped = False  # a run was dropped because of it
        self.tasks_to_rerun: list[BackgroundTask] = []
        """The tasks that asked to run although their request failed."""
        self.trace_id, self.span_id = current_ids()

    @property
    def error_type(self) -> str:
        """The full name of the exception's type."""
        return full_name(self.exc)

    def supersede(self, exc: BaseException) -> None:
        """Tell another exception in the place of the one that it came of."""
        self.exc = exc
        self.known.append(exc)


# --- requests ---------------------------------------------------------------------------------------------------

_making = forks.lock()  # a destructor that schedules may run while it is held


class RequestState:
    """One request (or WebSocket) of an instrumented application, from start to end."""

    # Defaults on the class: most requests schedule nothing and do not fail.
    parent: RequestState | None = None
    """The request of the application that this one is mounted in."""
    runs: dict[TaskRun, TaskRecord]
    """Its runs that have not ended."""
    indexes: Iterator[int]
    """The indexes of its runs; created with ``info``."""
    failures: tuple[RequestFailure, ...] = ()
    reported_inside: tuple[RequestFailure, ...] = ()
    """Errors that mounted applications have reported, with their own settings."""
    alerts: tuple[tuple[TaskRun, TaskRecord, BaseException | None], ...] = ()
    """Failed tasks whose callback waits until the response is sent."""
    around: SpanContext | None = None
    """OpenTelemetry's context when the request reaches the router. Its span is the parent of all runs."""
    innermost: object = None
    """The exception middleware, if what leaves the application is what left it."""
    status: int | None = None
    """The status that left the application."""
    inner_status: int | None = None
    """The status that the innermost application sent, before any middleware changed it."""
    lost_client: OSError | None = None
    """What the server raised when a message could not be written to the client."""
    started = False
    """The innermost application's response has started."""
    complete = False
    """The innermost application's response was sent completely. From now on, its tasks run."""
    answered_at: float | None = None
    """When that was, in seconds since the epoch."""
    background_ran = False
    """A task was called after the response."""
    task_failed = False
    """A task that was called after the response failed, and causes what is raised from now on."""
    task_told: BaseException | None = None
    """The exception of that task, if its traceback was logged."""
    failed_at: int | None = None
    """``inside`` when an exception came before the response; ``None`` once the application is tried again."""
    inside = 0
    """How many calls of its innermost application are active: a middleware may respond and let them continue."""
    settled = False
    forked = False
    """It belongs to the parent process of a fork, which reports it."""
    _info: RequestInfo | None = None

    def __init__(
        self, instrumentation: Instrumentation, scope: Scope, app: ASGIApp, parent: RequestState | None
    ) -> None:
        self.instrumentation = instrumentation
        self.kind: str = scope["type"]
        self.runs = {}
        self.scope: Scope | None = scope
        """The ASGI scope, until the request is settled."""
        if parent is None:
            self.began_at = time()
            self.app: ASGIApp | None = app
            self.root_path: str = scope.get("root_path", "")
        else:
            self.parent = parent
            self.app, self.root_path, self.began_at = parent.app, parent.root_path, parent.began_at
        scope[SCOPE_KEY] = self

    @property
    def over(self) -> bool:
        """It was answered, and no call of its application is active."""
        return self.settled and not self.inside

    @property
    def info(self) -> RequestInfo:
        """The public description of the request, created on first access."""
        return self._info or self._make_info()

    def _make_info(self) -> RequestInfo:
        with _making:  # two threads may schedule at once
            if self._info is None:
                info = RequestInfo(http_method(self.scope.get("method") if self.scope is not None else None))
                info._began_at, self.indexes = self.began_at, itertools.count()
                self._info = info
            return self._info


_current: ContextVar[RequestState | None] = ContextVar("afterword_request", default=None)

RequestToken = Token[RequestState | None]

current_request = _current.get
enter_request = _current.set
leave_request = _current.reset


def leave_destroyed_request(request: RequestState | None, token: RequestToken) -> bool:
    """Undo ``enter_request`` for a coroutine that may be being destroyed; return whether this is its context."""
    return take_back(_current, request, token)


def request_in(context: Context) -> RequestState | None:
    """Return the request of a context."""
    return context.get(_current)


def request_of(scope: Scope) -> RequestState | None:
    """Return the live request that an ASGI scope belongs to."""
    found: RequestState | None = scope.get(SCOPE_KEY)
    return found if found is not None and not found.over else None


def _forget() -> None:
    """In a forked child, leave the current request to the parent."""
    request = current_request()
    while request is not None:
        request.forked = True
        request = request.parent


forks.in_child(_forget)
