"""One call of an application: whose request it is, how far its answer got, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from opentelemetry.context import get_current
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._common.context import reported_exception, run_in
from .._ledger.deferred import defer, drain, nothing_deferred
from .._ledger.instrumentation import Instrumentation
from .._ledger.runs import is_pending
from .._ledger.shutdown import flush, let_cancelled_end
from .callbacks import tell_waiting
from .exception_handlers import finish
from .http_route import locate
from .request_errors import is_error, record_escaped_error, report, unwrapped
from .state import (
    SCOPE_KEY,
    RequestState,
    RequestToken,
    current_request,
    enter_request,
    leave_destroyed_request,
    leave_request,
    request_in,
    request_of,
)
from .unstarted import judge_unstarted

Call = Callable[..., Awaitable[None]]

_LAST_MESSAGES: Final = ("lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed")

# the second of each denies a WebSocket
_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BODIES: Final = ("http.response.body", "websocket.http.response.body")

_REFUSAL: Final = 403  # by the ASGI specification, what a server answers where the application closes at once
_SERVERS_FAULT: Final = range(1011, 1015)  # the codes of a WebSocket's end for which the server is to blame


def choose(instrumentation: Instrumentation | None, scope: Scope) -> Call | None:
    """Return how to call an application: tracked, untracked, or ``None`` to call it directly."""
    if instrumentation is None:
        # not instrumented: what is mounted joins the account around it, an unrelated one has none
        unrelated_app = current_request() is not None and request_of(scope) is None
        return _unaccounted if unrelated_app else None
    if scope["type"] in ("http", "websocket") and not _is_scrape(instrumentation, scope):
        return _accounted
    return _lifespan if scope["type"] == "lifespan" else _unaccounted


def _is_scrape(instrumentation: Instrumentation, scope: Scope) -> bool:
    route = instrumentation.route
    if route is None or scope["path"].removeprefix(scope.get("root_path", "")) != route.path:
        return False
    return not route.gives_way(scope)


async def _unaccounted(
    app: ASGIApp,
    instrumentation: Instrumentation | None,
    scope: Scope,
    receive: Receive,
    send: Send,
    original: Call,
) -> None:
    token = enter_request(None)
    try:
        await original(app, scope, receive, send)
    except GeneratorExit:
        leave_destroyed_request(None, token)
        raise
    except BaseException:
        leave_request(token)
        raise
    leave_request(token)
    drain()


async def _lifespan(
    app: ASGIApp, instrumentation: Instrumentation, scope: Scope, receive: Receive, send: Send, original: Call
) -> None:
    """Report what is left before the server hears of the end, after which it may end the process at once."""

    async def send_last(message: Message) -> None:
        if message["type"] in _LAST_MESSAGES:
            await let_cancelled_end(_concerns_us)
            drain()
            await flush()
        await send(message)

    await _unaccounted(app, instrumentation, scope, receive, send_last, original)


async def _accounted(
    app: ASGIApp, instrumentation: Instrumentation, scope: Scope, receive: Receive, send: Send, original: Call
) -> None:
    parent = request_of(scope)
    request = RequestState(instrumentation, scope, app, parent)
    token = enter_request(request)
    try:
        await original(app, scope, receive, watch_outside(request, send))
        if request.failures or request.alerts:
            await finish(request)
    except GeneratorExit:
        _destroyed(request, token, parent, scope)
        raise
    except BaseException as exc:
        failure = instrumentation.failsafe("judging an error", record_escaped_error, request, exc)
        try:
            if is_error(exc):
                await finish(request)
        except GeneratorExit:
            _destroyed(request, token, parent, scope)
            raise
        except BaseException:
            _leave(request, token, parent, scope)
            raise
        left = unwrapped(exc)
        told = request.task_failed and request.task_told is not None and left is unwrapped(request.task_told)
        _leave(request, token, parent, scope)
        if told or (failure is not None and failure.logged and left is failure.exc):
            reported_exception.set(id(exc))  # of this very one the traceback has gone out
        del left
        raise
    _leave(request, token, parent, scope)


async def end_late(request: RequestState, exc: BaseException | None = None) -> None:
    """End a request whose endpoint a middleware has let go on, as a timeout does that shields it."""
    if request.over:
        try:
            if exc is None or is_error(exc):
                await finish(request)
        finally:
            request.instrumentation.failsafe("settling a request", settle_rest, request)


def _leave(request: RequestState, token: RequestToken, parent: RequestState | None, scope: Scope) -> None:
    try:
        request.instrumentation.failsafe("settling a request", settle, request)
    finally:
        leave_request(token)
        if parent is not None:
            scope[SCOPE_KEY] = parent


def _destroyed(request: RequestState, token: RequestToken, parent: RequestState | None, scope: Scope) -> None:
    """Leave a request whose coroutine is being destroyed, perhaps by the collector inside somebody's lock."""
    defer(settle, request)  # only queued
    leave_destroyed_request(request, token)
    if parent is not None:
        scope[SCOPE_KEY] = parent


# --- its end ----------------------------------------------------------------------------------------------------


def settle(request: RequestState) -> None:
    """End the request: every run that nothing will call any more gets its outcome."""
    if request.settled:
        return
    if not nothing_deferred():
        drain()
    if request.runs or request.failures:
        _settle_runs(request)
    request.settled = True
    if not request.inside:
        request.scope = request.app = None
    if request.parent is not None:
        request.parent = None
    if request.lost_client is not None:
        request.lost_client = None
    if request.reported_inside or request.alerts:
        request.reported_inside = request.alerts = ()
    if request.task_told is not None:
        request.task_told = None


def settle_rest(request: RequestState) -> None:
    """End what a middleware has let go on after its answer, as soon as that has come to its end."""
    if request.over:
        if request.runs or request.failures:
            _settle_runs(request)
        request.scope = request.app = None


def _settle_runs(request: RequestState) -> None:
    locate(request)
    request.settled = True
    for failure in request.failures:
        report(request, failure)
        if not request.inside:
            failure.tasks_to_rerun = []
    for run, record in request.runs.copy().items():  # a thread may schedule more
        if is_pending(run):
            judge_unstarted(request, run, record)
    if not request.inside:
        request.runs.clear()
        for failure in request.failures:
            failure.reached = failure.traceback = None
        request.failures = ()
    drain()


def _concerns_us(task: asyncio.Task[Any]) -> bool:
    """Return whether a task of the loop has runs that have not ended; where it keeps its context, perhaps."""
    get_context = getattr(task, "get_context", None)  # Python >= 3.12
    if get_context is None:
        return True
    context = get_context()
    request, run = request_in(context), run_in(context)
    return bool(request is not None and request.runs) or bool(run is not None and run.outcome is None)


# --- its answer -------------------------------------------------------------------------------------------------


def watch_outside(request: RequestState, send: Send) -> Send:
    """Watch what leaves the application: the status that was really sent."""
    is_open = request.kind != "websocket"

    async def watched(message: Message) -> None:
        nonlocal is_open
        kind = message["type"]
        if kind in _STARTS:
            request.status = message["status"]
        elif not is_open:
            is_open = kind == "websocket.accept"
            if _is_refusal(request, message):
                request.status = _REFUSAL
        try:
            await send(message)
        except OSError as exc:
            request.lost_client = exc
            raise
        if request.inner_status is None and _ends(kind, message):
            request.complete = True  # a middleware answered by itself

    return watched


def _is_refusal(request: RequestState, message: Message) -> bool:
    """Return whether a message closes a WebSocket, which is not open, because of an error of its client."""
    if message["type"] != "websocket.close" or message.get("code") in _SERVERS_FAULT:
        return False
    return bool(request.failures) and request.status is None


def watch_inside(request: RequestState, send: Send) -> Send:
    """Watch what the innermost application says, before any middleware changes it.

    It begins afresh: a middleware may call the application more than once for one request.
    """
    if request.instrumentation.settings.traces:
        request.around = get_current()
    if request.started:
        request.started = request.complete = request.task_failed = False
        request.inner_status = None
    if request.failed_at is not None and request.inside <= request.failed_at:  # else: what a handler answers with
        request.failed_at = None

    def watched(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in _STARTS:
            request.started = True
            request.inner_status = message["status"]
        elif _ends(kind, message):
            return last(message)
        elif request.alerts:  # a stream may last for hours
            return telling(message)
        return send(message)

    async def last(message: Message) -> None:
        await send(message)
        request.complete = True
        if request.alerts:
            await tell_waiting(request)

    async def telling(message: Message) -> None:
        await send(message)
        await tell_waiting(request)

    return watched


def _ends(kind: str, message: Message) -> bool:
    if kind in _BODIES:
        return not message.get("more_body", False)
    return kind == "http.response.pathsend"
