"""The error path, through exception handlers.

FastAPI drops background tasks when a request fails, because they belong to a response that is never built. Its
documentation shows a workaround: an exception handler whose own response carries the task. We do this for every
handler: a shallow copy of its response is sent, with a background that first reports the error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope

from .._ledger.instrumentation import Instrumentation
from .callbacks import run_each, run_quietly, tell_waiting
from .request_errors import is_request_error, record_request_error, report, runs_marked_tasks
from .state import RequestFailure, RequestState, current_request, find_task

try:
    from starlette._utils import is_async_callable
except ImportError:  # private to Starlette
    is_async_callable = iscoroutinefunction  # type: ignore[assignment]


_MOST_DOUBLES = 64  # usually one per application; some code builds a middleware per request

Middleware = TypeVar("Middleware", ExceptionMiddleware, ServerErrorMiddleware)


class Handler:
    """A user's exception handler, called as Starlette would call it. Its response also reports the error."""

    __slots__ = ("depth", "handler")

    def __init__(self, handler: Callable[..., Any], depth: int | None = None) -> None:
        self.handler = handler
        self.depth = depth

    async def __call__(self, connection: HTTPConnection, exc: Exception) -> object:
        """Record the error, call the handler, and add the reporter to a copy of its response."""
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


Key = TypeVar("Key")  # a status, or a type of exceptions


class Handlers(Mapping[Key, Callable[..., Any]]):
    """A view of Starlette's table of exception handlers that returns each one as a ``Handler``."""

    __slots__ = ("_table",)

    def __init__(self, table: Mapping[Key, Callable[..., Any]]) -> None:
        self._table = table

    def __getitem__(self, key: Key) -> Handler:
        return Handler(self._table[key])

    def __contains__(self, key: object) -> bool:
        return key in self._table

    def __iter__(self) -> Iterator[Key]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


def stand_in(middleware: Middleware, **changed: Any) -> Middleware:
    """Return a copy of a middleware with some attributes changed. The user's middleware is not modified."""
    double = object.__new__(type(middleware))
    double.__dict__.update(middleware.__dict__)
    double.__dict__.update(changed)
    return double


def with_handlers(instrumentation: Instrumentation, middleware: ExceptionMiddleware) -> ExceptionMiddleware:
    """Return a copy of an ``ExceptionMiddleware`` whose tables return each handler as a ``Handler``.

    The copy is cached until the middleware's attributes change.
    """
    kept = instrumentation.doubles.get(id(middleware))
    if kept is not None and kept[0] is middleware and kept[1] == middleware.__dict__:
        double: ExceptionMiddleware = kept[2]
    else:
        double = stand_in(
            middleware,
            _exception_handlers=Handlers(middleware._exception_handlers),
            _status_handlers=Handlers(middleware._status_handlers),
        )
        if len(instrumentation.doubles) >= _MOST_DOUBLES:
            instrumentation.doubles.clear()
        instrumentation.doubles[id(middleware)] = middleware, dict(middleware.__dict__), double
    return double


def with_handler(middleware: ServerErrorMiddleware, depth: int) -> ServerErrorMiddleware:
    """Return a copy of a ``ServerErrorMiddleware`` with its handler as a ``Handler``, if it has one."""
    handler = getattr(middleware, "handler", None)
    return middleware if handler is None else stand_in(middleware, handler=Handler(handler, depth))


class _ErrorPath(BackgroundTask):
    """The background of an error response: the reporter, the handler's own background, the user's error tasks."""

    def __init__(
        self,
        request: RequestState,
        failure: RequestFailure,
        connection: HTTPConnection,
        attached: BackgroundTask | None,
    ) -> None:
        # not BackgroundTask.__init__: this is not a user task, and has no run
        self.func = self.args = self.kwargs = None  # type: ignore[assignment]
        self.is_async = True
        self.failure: RequestFailure | None = failure
        self.request, self.connection, self.attached = request, connection, attached

    async def __call__(self) -> None:
        # not stored: the failure's frames refer to this, and the cycle would keep the request's tasks alive
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


def _with_reporter(
    request: RequestState, failure: RequestFailure, connection: HTTPConnection, response: object
) -> object:
    if not isinstance(response, Response):
        return response  # not a Response but another ASGI application: the error is reported at the request's end
    if request.kind == "websocket" and request.status is None:
        request.status = response.status_code  # what was meant: an older Starlette sends nothing of it
    double = copy.copy(response)
    double.background = _ErrorPath(request, failure, connection, response.background)
    _mark_unsent(response.background)
    return double


def _mark_unsent(background: BackgroundTask | None) -> None:
    """Mark the tasks of an error response: if they never run, the response was never sent."""
    for task in (background, *(getattr(background, "tasks", None) or ())):
        record = find_task(task)
        if record is not None:
            record.on_error_response = True


async def finish(request: RequestState) -> None:
    """At the end of a request, do what no response has done: report errors, run error tasks and callbacks."""
    for failure in list(request.failures):
        request.instrumentation.failsafe("reporting an error", report, request, failure)
        await _run_error_tasks(request, failure, None)
    await tell_waiting(request)


async def _run_error_tasks(
    request: RequestState, failure: RequestFailure | None, connection: HTTPConnection | None
) -> None:
    """Run the tasks that run on a request error; if the request failed, then ``on_request_error``, once."""
    if failure is None or not runs_marked_tasks(request, failure):
        return
    tasks, failure.tasks_to_rerun = failure.tasks_to_rerun, []
    if tasks:
        await run_each(request, tasks)
    if failure.answered or not is_request_error(request, failure):
        return
    failure.answered = True
    handlers = request.instrumentation.settings.on_request_error
    if handlers and request.scope is not None and not failure.inside:
        await run_quietly(request, handlers, connection or _connection(request.scope), failure.exc)


def _connection(scope: Scope) -> HTTPConnection:
    return Request(scope) if scope["type"] == "http" else HTTPConnection(scope)
