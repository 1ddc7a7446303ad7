"""The error path: FastAPI drops background tasks when a request fails, because they hang on a response that is
never built. The way out that its documentation shows, a handler whose own response carries the task, is taken here
for every handler: the response goes out as it is, as a shallow copy whose background reports the error first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from .callbacks import run_each, run_quietly, tell_waiting
from .request_errors import is_request_error, record_request_error, report
from .state import RequestFailure, RequestState, current_request, find_task

if TYPE_CHECKING:
    from starlette.types import Scope

    from .._ledger.instrumentation import Instrumentation

try:
    from starlette._utils import is_async_callable
except ImportError:  # it is Starlette's own business
    is_async_callable = iscoroutinefunction  # type: ignore[assignment]


_MOST_DOUBLES = 64  # one for each application, unless somebody builds a middleware for every request


class Handler:
    """A user's exception handler, called as Starlette would call it; its response is made to report the error."""

    __slots__ = ("depth", "handler")

    def __init__(self, handler: Any, depth: int | None = None) -> None:
        self.handler = handler
        self.depth = depth

    async def __call__(self, connection: Any, exc: Exception) -> Any:
        """Judge the error, call the handler, and hang the reporter on a copy of its response."""
        request = current_request()
        failure = None
        if request is not None:
            failure = request.instrumentation.failsafe(
                "judging an error", record_request_error, request, exc, self.depth
            )
        if is_async_callable(self.handler):
            response = await self.handler(connection, exc)
        else:
            response = await run_in_threadpool(self.handler, connection, exc)
        if request is None or failure is None:
            return response
        reporting = request.instrumentation.failsafe(
            "attaching the reporter", _with_reporter, request, failure, connection, response
        )
        return response if reporting is None else reporting


class Handlers(Mapping[Any, Any]):
    """A view of Starlette's table of exception handlers that hands out each one as a ``Handler``."""

    __slots__ = ("_table",)

    def __init__(self, table: Mapping[Any, Any]) -> None:
        self._table = table

    def __getitem__(self, key: Any) -> Any:
        return Handler(self._table[key])

    def __contains__(self, key: object) -> bool:
        return key in self._table

    def __iter__(self) -> Iterator[Any]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def stand_in(middleware: Any, **changed: Any) -> Any:
    """Return a copy of a middleware with some attributes changed; the one in the user's stack stays as it is."""
    double = object.__new__(type(middleware))
    double.__dict__.update(middleware.__dict__)
    double.__dict__.update(changed)
    return double


def with_handlers(instrumentation: Instrumentation, middleware: Any) -> Any:
    """Return a copy of an ``ExceptionMiddleware`` whose tables hand out each handler as a ``Handler``.

    The account keeps it for as long as the middleware's attributes stay what they are.
    """
    kept, attributes, double = instrumentation.doubles.get(id(middleware), (None, None, None))
    if kept is not middleware or attributes != middleware.__dict__:
        double = stand_in(
            middleware,
            _exception_handlers=Handlers(middleware._exception_handlers),
            _status_handlers=Handlers(middleware._status_handlers),
        )
        if len(instrumentation.doubles) >= _MOST_DOUBLES:
            instrumentation.doubles.clear()
        instrumentation.doubles[id(middleware)] = middleware, dict(middleware.__dict__), double
    return double


def with_handler(middleware: Any, depth: int) -> Any:
    """Return a copy of a ``ServerErrorMiddleware`` with its handler as a ``Handler``; itself if it has none."""
    handler = getattr(middleware, "handler", None)
    return middleware if handler is None else stand_in(middleware, handler=Handler(handler, depth))


class _ErrorPath(BackgroundTask):
    """The background of an error response: the reporter, what the handler attached, the user's error tasks."""

    def __init__(self, request: RequestState, failure: RequestFailure, connection: Any, attached: Any) -> None:
        # not BackgroundTask.__init__: this is no task of the user's, and has no account
        self.func = self.args = self.kwargs = None  # type: ignore[assignment]
        self.is_async = True
        self.failure: RequestFailure | None = failure
        self.request, self.connection, self.attached = request, connection, attached

    async def __call__(self) -> None:
        # not kept: the failure's frames hold this, and in the cycle the tasks of the request would live on
        failure, self.failure = self.failure, None
        if failure is not None:
            self.request.instrumentation.failsafe("reporting an error", report, self.request, failure)
        try:
            if self.attached is not None:
                await self.attached()
        except Exception:
            await _run_error_tasks(self.request, failure, self.connection)
            raise
        await _run_error_tasks(self.request, failure, self.connection)


def _with_reporter(request: RequestState, failure: RequestFailure, connection: Any, response: Any) -> Any:
    if not isinstance(response, Response):
        return response  # any ASGI application may be an answer; the error is reported at the request's end
    double = copy.copy(response)
    double.background = _ErrorPath(request, failure, connection, response.background)
    _mark_unsent(response.background)
    return double


def _mark_unsent(background: Any) -> None:
    """Note what hangs on an error response: should it never run, that response was never sent."""
    for task in (background, *(getattr(background, "tasks", None) or ())):
        record = find_task(task)
        if record is not None:
            record.on_error_response = True


async def finish(request: RequestState) -> None:
    """Do, at the end of a request, what no response has done: report errors, run error tasks and alerts."""
    for failure in list(request.failures):
        request.instrumentation.failsafe("reporting an error", report, request, failure)
        await _run_error_tasks(request, failure, None)
    await tell_waiting(request)


async def _run_error_tasks(request: RequestState, failure: RequestFailure | None, connection: Any) -> None:
    """Run what is to run although the request failed, once per error: its tasks, then ``on_request_error``."""
    if failure is None or failure.answered or not is_request_error(request, failure):
        return
    failure.answered = True
    tasks, failure.tasks_to_rerun = failure.tasks_to_rerun, []
    await run_each(request, tasks)
    handlers = request.instrumentation.settings.on_request_error
    if handlers and request.scope is not None and not failure.inside:
        await run_quietly(request, handlers, connection or _connection(request.scope), failure.exc)


def _connection(scope: Scope) -> HTTPConnection:
    return Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
