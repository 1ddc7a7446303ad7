"""The request scope: which request a run belongs to, and what became of its tasks and of its errors."""

from __future__ import annotations

import contextvars
import itertools
from asyncio import CancelledError
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .._common import contexts, forks, validation
from .._common import text as outside
from .._common.model import RequestInfo, TaskRun
from .._common.semconv import identify
from .._ledger.deferred import drain, none_died, sweeper
from .._ledger.runs import is_pending
from . import unstarted as verdict
from .http_route import route_template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context

    from .._ledger.deferred import TaskRecord
    from .._ledger.instrumentation import Account

SCOPE_KEY = "afterword"

_current: ContextVar[RequestScope | None] = ContextVar("afterword_request", default=None)

_making = forks.lock()  # the collector may run a destructor that schedules, while it is held

reported_exception: ContextVar[int | None] = ContextVar("afterword_reported", default=None)
"""The identity of an exception that leaves the application after a line with its traceback went out."""

current = _current.get
enter = _current.set
leave = _current.reset


def take_back(scope: RequestScope | None, token: Any) -> bool:
    """Undo ``enter`` for a coroutine that may be being destroyed; return whether that is in its own context."""
    return contexts.take_back(_current, scope, token)


def of(context: contextvars.Context) -> RequestScope | None:
    """Return the request that a context belongs to."""
    return context.get(_current)


def joined(scope: Any) -> RequestScope | None:
    """Return the live request scope that an ASGI scope was derived from: this is how a mounted app is known."""
    found: RequestScope | None = scope.get(SCOPE_KEY)
    return found if found is not None and not found.over else None


class RequestScope:
    """One request (or WebSocket) of an instrumented application, from its first to its last instruction."""

    # Most requests schedule nothing and fail nowhere: what they need not know stands here, on the class.
    parent: RequestScope | None = None
    runs: dict[TaskRun, TaskRecord]
    """Its runs that have not ended."""
    failures: tuple[verdict.Failure, ...] = ()
    alerts: tuple[tuple[TaskRun, TaskRecord, BaseException | None], ...] = ()
    """Failed tasks whose alert waits for the response to go out."""
    around: Context | None = None
    """OpenTelemetry's context where the request reaches the router, whose span all its runs hang under."""
    status: int | None = None
    inner_status: int | None = None
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
    task_logged = False
    """A line with the traceback of that task has gone out."""
    inside = 0
    """How often its innermost application is being called now: a middleware may answer and let it go on."""
    settled = False
    forked = False
    """It is the request of the process that this one was forked from: what becomes of it is told there."""
    _info: RequestInfo | None = None
    _index: Iterator[int]
    reported_inside: tuple[verdict.Failure, ...] = ()
    """Errors that applications mounted inside have reported, by settings of their own."""

    def __init__(self, account: Account, asgi: Any, app: Any, parent: RequestScope | None) -> None:
        self.account = account
        self.kind: str = asgi["type"]
        self.runs = {}
        self._asgi = asgi
        if parent is None:
            self._app: Any = app
            self._root_path: str = asgi.get("root_path", "")
        else:
            self.parent = parent
            self._app, self._root_path = parent._app, parent._root_path
        asgi[SCOPE_KEY] = self

    @property
    def over(self) -> bool:
        """It was answered, and nothing of it goes on inside."""
        return self.settled and not self.inside

    @property
    def info(self) -> RequestInfo:
        """What is told of the request; made when it is first asked for."""
        return self._info or self._make_info()

    @property
    def answering(self) -> bool:
        """Whether a response has begun, the application's or that of a middleware."""
        return self.started or self.complete or self.status is not None

    def _make_info(self) -> RequestInfo:
        with _making:  # two threads may schedule at once
            if self._info is None:
                self._index = itertools.count()
                method = self._asgi.get("method") if self._asgi is not None else None
                self._info = RequestInfo(outside.http_method(method))
            return self._info

    # --- its runs ---------------------------------------------------------------------------------------------

    def schedule(self, record: TaskRecord, func: Any, *, is_async: bool) -> TaskRun:
        """Open a run for a task that belongs to this request."""
        info = self._info or self._make_info()
        if info.route is None:
            self.locate()
        name, function = identify(func)
        run = TaskRun(name, function, info, next(self._index), is_async=is_async)
        if not self.over:
            self.runs[run] = record
        if not sweeper.started:
            sweeper.start()
        if self.around is None:
            self.account.ledger.schedule(run)
        else:
            run._around = self.around
            self.account.ledger.schedule(run)
            run._around = None  # whoever keeps the run must not keep what the application has put there
        return run

    def release(self, run: TaskRun) -> None:
        """Forget a run that has ended: a long-lived request holds only its unended runs."""
        self.runs.pop(run, None)

    def task_died(self, record: TaskRecord) -> None:
        """Take note that a task object is gone; its run, if it never began, will never be called."""
        run = record.run
        if run is None or not is_pending(run):
            return
        if self.over or run not in self.runs or self.kind == "websocket" or self._shows_why(record):
            verdict.give_up(self, run, record)
        # else: wait for the end of the request, which may yet fail, and is then the better reason

    def _shows_why(self, record: TaskRecord) -> bool:
        """Return whether the request has come so far that it is plain why a task will never be called.

        An injected one was replaced if another runs behind the response, which may be long in coming.
        """
        injected = record.batch is not None and record.batch.injected
        return self.background_ran if injected else self.started

    # --- its errors -------------------------------------------------------------------------------------------

    def error_reached(self, exc: BaseException, depth: int | None = None) -> verdict.Failure | None:
        """Judge an exception that reached the exception middleware or left the application.

        It dooms the runs that are unstarted at this moment; a retrying middleware may yet try again. ``None`` if
        it came out of a task that was called behind the complete response: that is no failed request. ``depth``
        says how often the application is being called around it: if it is more, a middleware raised, and what is
        inside goes on and may yet run its tasks.
        """
        reached, exc = exc, verdict.original(exc)
        if self.task_failed or self.forked:
            return None
        kind = verdict.DISCONNECTED if exc is self.lost_client else verdict.failure_kind(exc, self.kind)
        failure = self._known(exc, kind) or self._new_failure(exc, kind)
        failure.reached = reached
        self.locate()
        for run, record in self.runs.copy().items():  # a thread may schedule more
            # what hangs on an error response was attached because of this error: it may yet run
            if not is_pending(run) or record.unsent or isinstance(record.doom, verdict.Failure):
                continue
            if depth is not None and self.inside > depth:
                record.doom = verdict.Doom(failure.kind, failure.error_type)
            else:
                record.doom = failure
                verdict.keep_for_rescue(failure, record)
        return failure

    def error_left(self, exc: BaseException) -> verdict.Failure | None:
        """Judge an exception that leaves the application; the server answers where no response has begun."""
        failure = self.error_reached(exc, 0)
        if failure is not None and failure.kind == verdict.ERROR and self.kind == "http" and self.status is None:
            self.status = 500
        return failure

    def _known(self, exc: BaseException, kind: str) -> verdict.Failure | None:
        known = [failure for failure in self.failures if verdict.same_error(exc, failure.exc)]
        if kind == verdict.ERROR:
            cancelled = [failure for failure in known or self.failures if failure.kind == verdict.CANCELLED]
            for failure in cancelled[:1]:
                # what cancelled the application, or what was made of it: a task group's error, a timeout
                failure.exc, failure.kind, failure.logged = exc, kind, False
                return failure
            if not known and verdict.is_silence(exc):
                known = [failure for failure in self.failures if isinstance(failure.exc, CancelledError)]
        return known[0] if known else None

    def _new_failure(self, exc: BaseException, kind: str) -> verdict.Failure:
        failure = verdict.Failure(exc, kind, before_response=not self.started)
        for told in self.reported_inside:
            if verdict.same_error(exc, told.exc):
                failure.reported = failure.inside = True
                failure.logged = told.logged
        self.failures = (*self.failures, failure)
        return failure

    def is_request_error(self, failure: verdict.Failure) -> bool:
        """Return whether a failure counts as a failed request."""
        status = self.status or self.inner_status
        if failure.kind == verdict.DISCONNECTED:
            return False
        if failure.kind == verdict.CANCELLED:
            return status is not None and status >= 400
        return not (failure.before_response and status is not None and status < 400)

    def report(self, failure: verdict.Failure) -> None:
        """Tell the observers of a failed request, once per error, here or in an application mounted inside."""
        if failure.reported:
            return
        failure.reported = True
        if self.parent is not None:
            self.parent.reported_inside = (*self.parent.reported_inside, failure)
        if self.is_request_error(failure):
            self.locate()
            info = self.info
            told = RequestInfo(
                info.method, info.route, info.request_id, self.status or self.inner_status, failure.trace_id
            )
            told.span_id = failure.span_id
            told.dropped = verdict.drops(self, failure)
            if self._asgi is not None and validation.quotes_input(failure.exc):
                self.account.guard("reading parameters", validation.learn_parameters, self._asgi)
            self.account.ledger.request_failed(told, failure.exc)
            failure.logged = told._logged

    # --- its end ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """End the request: every run that nothing will call any more gets its outcome."""
        if self.settled:
            return
        if not none_died():
            drain()
        if self.runs or self.failures:
            self._settle_runs()
        self.settled = True
        if not self.inside:
            self._asgi = self._app = None
        if self.parent is not None:
            self.parent = None
        if self.lost_client is not None:
            self.lost_client = None
        if self.reported_inside or self.alerts:
            self.reported_inside = self.alerts = ()

    def _settle_runs(self) -> None:
        self.locate()
        self.settled = True
        for failure in self.failures:
            self.report(failure)
            if not self.inside:
                failure.rescued = []
        for run, record in self.runs.copy().items():  # a thread may schedule more
            if is_pending(run):
                verdict.settle(self, run, record)
        if not self.inside:
            self.runs.clear()
            for failure in self.failures:
                failure.reached = failure.traceback = None
            self.failures = ()
        drain()

    def settle_rest(self) -> None:
        """End what a middleware has let go on after its answer, as soon as that has come to its end."""
        if self.over:
            if self.runs or self.failures:
                self._settle_runs()
            self._asgi = self._app = None

    def locate(self) -> None:
        """Find out the route and the request id, as soon as they are known."""
        if self._asgi is None or self.info.route is not None:
            return
        self.info.route = self.account.guard("route", route_template, self._asgi, self._app, self._root_path)
        if self.info.request_id is None:
            headers = self._asgi.get("headers", ())
            self.info.request_id = self.account.guard("request id", outside.request_id, headers)

    @property
    def asgi(self) -> Any:
        """The ASGI scope, until the request is settled."""
        return self._asgi


def _forget() -> None:
    """Leave the request in which a child is forked to the parent."""
    scope = current()
    while scope is not None:
        scope.forked = True
        scope = scope.parent


forks.in_child(_forget)
