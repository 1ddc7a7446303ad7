"""What is known of a request, of its batches and tasks, and of its errors: plain records, no judgement.

Nothing is written on the user's objects. A weak reference beside a task or a batch knows its run, so copies and
pickles of a task are what they would be without us. What a collected task leads to is handed in when its record is
made, as ``on_collected``.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any, Final

from .._common import forks, semconv
from .._common.context import current_ids, take_back
from .._common.model import RequestInfo, TaskRun, full_name
from .._common.text import http_method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context as SpanContext
    from starlette.background import BackgroundTask, BackgroundTasks
    from starlette.types import ASGIApp, Scope

    from .._ledger.instrumentation import Instrumentation

SCOPE_KEY: Final = semconv.SCOPE
"""Where an ASGI scope keeps its request, so that a mounted application is known by it."""

ERROR: Final = "error"
CANCELLED: Final = "cancelled"
DISCONNECTED: Final = "disconnected"

# --- tasks and batches, found again by their objects ------------------------------------------------------------


class BatchRecord(weakref.ref["BackgroundTasks"]):
    """What is known of one ``BackgroundTasks``, while it or one of its tasks lives."""

    __slots__ = ("__dict__", "called", "finished", "injected", "key", "request")

    key: int
    request: RequestState
    injected: bool
    """FastAPI made it for a parameter of the endpoint or of a dependency."""
    called: bool
    finished: bool
    failed: TaskRun | None = None
    """The member that failed or was cancelled, where the batch runs its members in its own way."""


class TaskRecord(weakref.ref["BackgroundTask"]):
    """What is known of one ``BackgroundTask``: its request, its batch and its latest run."""

    # What few tasks ever know stands here, on the class, and has a dictionary made for it when it is written.
    __slots__ = ("__dict__", "batch", "key", "request", "run")

    key: int
    request: RequestState
    run: TaskRun | None
    batch: BatchRecord | None
    failure: RequestFailure | FailureSummary | None = None
    """The error that its request came to before the task could start."""
    no_alert = False
    """It is an alert itself: its own failure raises no other."""
    on_error_response = False
    """It hung on an error response; if it never ran, that response was never sent."""


_tasks: dict[int, TaskRecord] = {}
_batches: dict[int, BatchRecord] = {}


def task_record(
    task: BackgroundTask,
    request: RequestState,
    batch: BatchRecord | None,
    on_collected: Callable[[TaskRecord], None],
) -> TaskRecord:
    """Make a record that ``find_task`` does not know, unless it is remembered."""
    record = TaskRecord(task, on_collected)
    record.key = id(task)
    record.request = request
    record.run = None
    record.batch = batch
    return record


def remember_task(record: TaskRecord) -> None:
    """Let ``find_task`` know a record for as long as its task lives."""
    _tasks[record.key] = record


def forget_task(record: TaskRecord) -> None:
    """Forget a record, unless another object has its place by now."""
    if _tasks.get(record.key) is record:
        _tasks.pop(record.key, None)


def find_task(task: Any) -> TaskRecord | None:
    """Return the record of a task, if it was created in sight."""
    record = _tasks.get(id(task))
    return record if record is not None and record() is task else None


def remember_batch(batch: BackgroundTasks, request: RequestState, *, injected: bool) -> BatchRecord:
    """Start a record of a batch."""
    record = BatchRecord(batch, _forget_batch)
    record.key = id(batch)
    record.request = request
    record.injected = injected
    record.called = record.finished = False
    _batches[record.key] = record
    return record


def _forget_batch(record: Any) -> None:
    key: int = record.key
    if _batches.get(key) is record:
        _batches.pop(key, None)


def find_batch(batch: Any) -> BatchRecord | None:
    """Return the record of a batch, if it was created in sight."""
    record = _batches.get(id(batch))
    return record if record is not None and record() is batch else None


# --- errors -----------------------------------------------------------------------------------------------------


class FailureSummary:
    """What is kept of a failure beside a task that may yet be called: not its exception, which holds the task."""

    __slots__ = ("error_type", "exc", "kind")

    def __init__(self, kind: str, error_type: str) -> None:
        self.kind = kind
        self.error_type = error_type
        self.exc = None


class RequestFailure:
    """One exception that reached the exception middleware, and what has been done about it."""

    def __init__(self, exc: BaseException, kind: str, *, before_response: bool) -> None:
        self.exc = exc
        """What the answer is owed to, and is told: of several that came of each other, the last."""
        self.known = [exc]
        """Those before it, and itself."""
        self.kind = kind
        self.reached: BaseException | None = exc
        """The exception as it came here last, perhaps in a group: it holds the frames."""
        self.traceback = exc.__traceback__
        """What Starlette takes off an exception that it has handled."""
        self.before_response = before_response
        """It came before a response had begun, so that a handler or a middleware could still answer."""
        self.reported = False
        self.logged = False
        """A line with its traceback has gone out."""
        self.inside = False
        """It was reported by an application mounted inside."""
        self.answered = False
        """The user's error tasks have been run for it."""
        self.dropped = False
        """A run was dropped because of it."""
        self.tasks_to_rerun: list[Any] = []
        """The tasks that asked to run although their request failed."""
        self.trace_id: str | None
        self.span_id: str | None
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

_making = forks.lock()  # the collector may run a destructor that schedules, while it is held


class RequestState:
    """One request (or WebSocket) of an instrumented application, from its first to its last instruction."""

    # Most requests schedule nothing and fail nowhere: what they need not know stands here, on the class.
    parent: RequestState | None = None
    """The request of the application that this one is mounted in."""
    runs: dict[TaskRun, TaskRecord]
    """Its runs that have not ended."""
    indexes: Iterator[int]
    """The places of its runs; made with ``info``."""
    failures: tuple[RequestFailure, ...] = ()
    reported_inside: tuple[RequestFailure, ...] = ()
    """Errors that applications mounted inside have reported, by settings of their own."""
    alerts: tuple[tuple[TaskRun, TaskRecord, BaseException | None], ...] = ()
    """Failed tasks whose alert waits for the response to go out."""
    around: SpanContext | None = None
    """OpenTelemetry's context where the request reaches the router: all its runs hang under its span."""
    status: int | None = None
    """The status that left the application."""
    inner_status: int | None = None
    """The status that the innermost application sent, before any middleware changed it."""
    lost_client: OSError | None = None
    """What the server raised when a message could not be written to the client."""
    started = False
    """The innermost application's response has begun."""
    complete = False
    """The innermost application's response has been sent to its end: from here on, tasks run behind it."""
    background_ran = False
    """A task was called behind the response."""
    task_failed = False
    """A task that was called behind the response failed; what is raised from now on is its doing."""
    task_told: BaseException | None = None
    """What that task raised, if a line with its traceback has gone out."""
    inside = 0
    """How often its innermost application is being called now: a middleware may answer and let it go on."""
    settled = False
    forked = False
    """It is the request of the process that this one was forked from: what becomes of it is told there."""
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
            self.app: ASGIApp | None = app
            self.root_path: str = scope.get("root_path", "")
        else:
            self.parent = parent
            self.app, self.root_path = parent.app, parent.root_path
        scope[SCOPE_KEY] = self

    @property
    def over(self) -> bool:
        """It was answered, and nothing of it goes on inside."""
        return self.settled and not self.inside

    @property
    def info(self) -> RequestInfo:
        """What is told of the request; made when it is first asked for."""
        return self._info or self._make_info()

    def _make_info(self) -> RequestInfo:
        with _making:  # two threads may schedule at once
            if self._info is None:
                self.indexes = itertools.count()
                self._info = RequestInfo(http_method(self.scope.get("method") if self.scope is not None else None))
            return self._info


_current: ContextVar[RequestState | None] = ContextVar("afterword_request", default=None)

current_request = _current.get
enter_request = _current.set
leave_request = _current.reset


def leave_destroyed_request(request: RequestState | None, token: Any) -> bool:
    """Undo ``enter_request`` for a coroutine that may be being destroyed; return whether this is its context."""
    return take_back(_current, request, token)


def request_in(context: Context) -> RequestState | None:
    """Return the request that a context belongs to."""
    return context.get(_current)


def request_of(scope: Scope) -> RequestState | None:
    """Return the live request that an ASGI scope was derived from."""
    found: RequestState | None = scope.get(SCOPE_KEY)
    return found if found is not None and not found.over else None


def _forget() -> None:
    """Leave the request in which a child is forked to the parent."""
    request = current_request()
    while request is not None:
        request.forked = True
        request = request.parent


forks.in_child(_forget)
