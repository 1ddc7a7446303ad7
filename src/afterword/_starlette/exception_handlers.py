"""The error path, through exception handlers.

FastAPI drops background tasks when a request fails, because they belong to a response that is never built. Its
documentation shows a workaround: an exception handler whose own response carries the task. We do this for every
handler: a shallow copy of its response is sent, with a background that first reports the error.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, Mapping
from inspect import iscoroutinefunction
from time import time
from typing import Any, TypeVar

from opentelemetry.context import get_current
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .._common.faults import EXITS
from .._ledger.deferred import defer
from .._ledger.instrumentation import Instrumentation
from .asgi import STARTS, ends
from .callbacks import end_late, run_error_tasks, tell_waiting
from .patching import Function, MethodPatch
from .request_errors import record_request_error, report
from .state import RequestFailure, RequestState, current_request, find_task, members_of
from .unstarted import settle_rest

try:
    from starlette._utils import is_async_callable
except ImportError:  # private to Starlette
    is_async_callable = iscoroutinefunction  # type: ignore[assignment]


_MOST_DOUBLES = 64  # usually one per application; some code builds a middleware per request


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
        if request is None:
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


# --- the hooks --------------------------------------------------------------------------------------------------


def catching(patch: MethodPatch, original: Function) -> Function:
    """Return a ``__call__`` of an ``ExceptionMiddleware`` that sees every error which reaches it."""

    async def __call__(self: ExceptionMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request()
        if request is None or patch.hook is not hook or scope["type"] not in ("http", "websocket"):
            await original(self, scope, receive, send)
            return
        depth = request.inside = request.inside + 1
        middleware = self
        try:
            if request.instrumentation.settings.traces:
                request.around = get_current()
            if request.started or request.failed_at is not None:
                _begin_again(request)
            if request.innermost is not self:
                send = _watch_inside(request, send)
            kept = request.instrumentation.doubles.get(id(self))
            if (
                kept is not None
                and kept[0] is self
                and kept[1] is self.app
                and kept[2] is self._exception_handlers
                and kept[3] is self._status_handlers
            ):
                middleware = kept[4]
            else:
                middleware = _with_handlers(request.instrumentation, self)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            request.instrumentation.record_fault("wrapping exception handlers", fault)
        try:
            await original(middleware, scope, receive, send)
        except GeneratorExit:
            request.inside -= 1
            defer(settle_rest, request)
            raise
        except BaseException as exc:
            request.instrumentation.failsafe("judging an error", record_request_error, request, exc, depth)
            request.inside -= 1
            if request.settled:
                await end_late(request, exc)
            raise
        request.inside -= 1
        if request.settled:
            await end_late(request)

    hook = __call__
    return hook


def reporting(handler: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Return the handler of a ``ServerErrorMiddleware`` as it is seen in a request: its response reports, too."""
    if handler is None or isinstance(handler, Handler) or current_request() is None:
        return handler  # one of ours if the middleware was made in a request, of what another one told
    return Handler(handler, depth=0)


def _with_handlers(instrumentation: Instrumentation, middleware: ExceptionMiddleware) -> ExceptionMiddleware:
    """Return a copy of an ``ExceptionMiddleware`` whose tables return each handler as a ``Handler``.

    The user's middleware is not modified. The copy is kept until an attribute changes; a subclass may use others
    than we know, so of one no copy is kept.
    """
    exceptions, statuses = middleware._exception_handlers, middleware._status_handlers
    double: Any = object.__new__(type(middleware))
    double.__dict__.update(middleware.__dict__)
    double._exception_handlers, double._status_handlers = Handlers(exceptions), Handlers(statuses)
    if type(middleware) is ExceptionMiddleware:
        if len(instrumentation.doubles) >= _MOST_DOUBLES:
            instrumentation.doubles.clear()
        instrumentation.doubles[id(middleware)] = middleware, middleware.app, exceptions, statuses, double
    same: ExceptionMiddleware = double
    return same


def _begin_again(request: RequestState) -> None:
    """Begin afresh: a middleware may call the application more than once for one request."""
    if request.started:
        request.started = request.complete = request.task_failed = False
        request.inner_status = None
    if request.failed_at is not None and request.inside <= request.failed_at:  # else: what a handler answers with
        request.failed_at = None


def _watch_inside(request: RequestState, send: Send) -> Send:
    """Watch what the innermost application says, before any middleware changes it."""

    def watched(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in STARTS:
            request.started = True
            request.inner_status = message["status"]
        elif ends(kind, message):
            return last(message)
        elif request.alerts:  # a stream may last for hours
            return telling(message)
        return send(message)

    async def last(message: Message) -> None:
        await send(message)
        request.complete, request.answered_at = True, time()
        if request.alerts:
            await tell_waiting(request)

    async def telling(message: Message) -> None:
        await send(message)
        await tell_waiting(request)

    return watched


# --- the answer to an error -------------------------------------------------------------------------------------


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
            await run_error_tasks(self.request, failure, self.connection)
            raise
        await run_error_tasks(self.request, failure, self.connection)


def _with_reporter(
    request: RequestState, failure: RequestFailure | None, connection: HTTPConnection, response: object
) -> object:
    if not isinstance(response, Response):
        return response  # not a Response but another ASGI application: the error is reported at the request's end
    _mark_unsent(response.background)
    if failure is None:
        return response  # to the error of a task: it comes too late for what has been answered
    if request.kind == "websocket" and request.status is None:
        request.status = response.status_code  # what was meant: an older Starlette sends nothing of it
    double = copy.copy(response)
    double.background = _ErrorPath(request, failure, connection, response.background)
    return double


def _mark_unsent(background: BackgroundTask | None) -> None:
    """Mark the tasks of an error response: if they never run, the response was never sent."""
    for task in (background, *members_of(background)):
        record = find_task(id(task))
        if record is not None:
            record.on_error_response = True
