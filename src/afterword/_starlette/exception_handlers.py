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

from .._ledger.deferred import recall_task
from . import callbacks as alerts
from . import state as request

if TYPE_CHECKING:
    from .._ledger.instrumentation import Account
    from .state import RequestScope
    from .unstarted import Failure

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
        scope = request.current()
        failure = None
        if scope is not None:
            failure = scope.account.guard("judging an error", scope.error_reached, exc, self.depth)
        if is_async_callable(self.handler):
            response = await self.handler(connection, exc)
        else:
            response = await run_in_threadpool(self.handler, connection, exc)
        if scope is None or failure is None:
            return response
        reporting = scope.account.guard(
            "attaching the reporter", _with_reporter, scope, failure, connection, response
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


def with_handlers(account: Account, middleware: Any) -> Any:
    """Return a copy of an ``ExceptionMiddleware`` whose tables hand out each handler as a ``Handler``.

    The account keeps it for as long as the middleware's attributes stay what they are.
    """
    kept, attributes, double = account.doubles.get(id(middleware), (None, None, None))
    if kept is not middleware or attributes != middleware.__dict__:
        double = stand_in(
            middleware,
            _exception_handlers=Handlers(middleware._exception_handlers),
            _status_handlers=Handlers(middleware._status_handlers),
        )
        if len(account.doubles) >= _MOST_DOUBLES:
            account.doubles.clear()
        account.doubles[id(middleware)] = middleware, dict(middleware.__dict__), double
    return double


def with_handler(middleware: Any, depth: int) -> Any:
    """Return a copy of a ``ServerErrorMiddleware`` with its handler as a ``Handler``; itself if it has none."""
    handler = getattr(middleware, "handler", None)
    return middleware if handler is None else stand_in(middleware, handler=Handler(handler, depth))


class _ErrorPath(BackgroundTask):
    """The background of an error response: the reporter, what the handler attached, the user's error tasks."""

    def __init__(self, scope: RequestScope, failure: Failure, connection: Any, attached: Any) -> None:
        # not BackgroundTask.__init__: this is no task of the user's, and has no account
        self.func = self.args = self.kwargs = None  # type: ignore[assignment]
        self.is_async = True
        self.failure: Failure | None = failure
        self.scope, self.connection, self.attached = scope, connection, attached

    async def __call__(self) -> None:
        # not kept: the failure's frames hold this, and in the cycle the tasks of the request would live on
        failure, self.failure = self.failure, None
        if failure is not None:
            self.scope.account.guard("reporting an error", self.scope.report, failure)
        try:
            if self.attached is not None:
                await self.attached()
        except Exception:
            await _run_error_tasks(self.scope, failure, self.connection)
            raise
        await _run_error_tasks(self.scope, failure, self.connection)


def _with_reporter(scope: RequestScope, failure: Failure, connection: Any, response: Any) -> Any:
    if not isinstance(response, Response):
        return response  # any ASGI application may be an answer; the error is reported at the request's end
    double = copy.copy(response)
    double.background = _ErrorPath(scope, failure, connection, response.background)
    _mark_unsent(response.background)
    return double


def _mark_unsent(background: Any) -> None:
    """Note what hangs on an error response: should it never run, that response was never sent."""
    for task in (background, *(getattr(background, "tasks", None) or ())):
        record = recall_task(task)
        if record is not None:
            record.unsent = True


async def finish(scope: RequestScope) -> None:
    """Do, at the end of a request, what no response has done: report errors, run error tasks and alerts."""
    for failure in list(scope.failures):
        scope.account.guard("reporting an error", scope.report, failure)
        await _run_error_tasks(scope, failure, None)
    await alerts.tell_waiting(scope)


async def _run_error_tasks(scope: RequestScope, failure: Failure | None, connection: Any) -> None:
    """Run the rescued tasks of the request and the user's ``on_request_error``, once per error, each by itself."""
    if failure is None or failure.answered or not scope.is_request_error(failure):
        return
    failure.answered = True
    rescued, failure.rescued = failure.rescued, []
    await alerts.run_each(scope, rescued)
    handlers = scope.account.settings.on_request_error
    if handlers and scope.asgi is not None and not failure.inside:
        await alerts.run_quietly(scope, handlers, connection or _connection(scope.asgi), failure.exc)


def _connection(asgi: Any) -> HTTPConnection:
    return Request(asgi) if asgi["type"] == "http" else HTTPConnection(asgi)
