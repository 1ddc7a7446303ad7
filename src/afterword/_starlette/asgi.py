"""One call of an application: whose request it is, how far its answer got, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._common.context import reported_exception, run_in
from .._common.faults import EXITS
from .._ledger.deferred import defer, drain
from .._ledger.ending import ending
from .._ledger.instrumentation import ATTRIBUTE, Instrumentation
from .._ledger.shutdown import end
from .callbacks import finish, tell_waiting
from .http_route import is_our_own
from .patching import Function, MethodPatch
from .request_errors import is_error, record_escaped_error, unwrapped
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
from .unstarted import settle

_LAST_MESSAGES: Final = ("lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed")

# the second of each denies a WebSocket
STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BODIES: Final = ("http.response.body", "websocket.http.response.body")

_REFUSAL: Final = 403  # by the ASGI specification, what a server answers where the application closes at once
_SERVERS_FAULT: Final = range(1011, 1015)  # the codes of a WebSocket's end for which the server is to blame


class Installed(Protocol):
    """What a call of an application has to know of the patches."""

    def find(self, app: Starlette, scope: Scope) -> Instrumentation | None:
        """Return the instrumentation of an application that is called for the first time, perhaps."""

    @property
    def check(self) -> Callable[[], None]:
        """Call it to see that the hook of a task's call is still in place."""
        ...

    def remove_when_idle(self) -> None:
        """Remove the patches, if nobody needs them any more."""


def calling(patch: MethodPatch, original: Function, installed: Installed) -> Function:
    """Return a ``__call__`` of an application that follows each request from its start to its end."""

    async def __call__(self: Starlette, scope: Scope, receive: Receive, send: Send) -> None:
        instrumentation: Instrumentation | None = self.__dict__.get(ATTRIBUTE)
        if instrumentation is None or patch.hook is not hook:
            instrumentation = installed.find(self, scope) if patch.hook is hook else None
        if instrumentation is None:
            # not instrumented: what is mounted joins the account around it, an unrelated one has none
            if current_request() is not None and request_of(scope) is None:
                await _unaccounted(self, scope, receive, send, original)
            else:
                await original(self, scope, receive, send)
            return
        installed.check()
        kind = scope["type"]
        has_routes = instrumentation.route is not None or instrumentation.console is not None
        if kind == "lifespan":
            _started(instrumentation, scope)
            heard, told = _hearing_last(instrumentation, receive), _telling_last(instrumentation, send)
            await _unaccounted(self, scope, heard, told, original)
        elif kind not in ("http", "websocket") or (has_routes and is_our_own(instrumentation, scope)):
            await _unaccounted(self, scope, receive, send, original)
        else:
            if instrumentation.late is not None and monotonic() > instrumentation.asks_at:
                instrumentation.failsafe("looking for a meter provider", instrumentation.let_join)
            parent = request_of(scope) if SCOPE_KEY in scope else None
            request = RequestState(instrumentation, scope, self, parent)
            token = enter_request(request)
            try:
                await original(self, scope, receive, watch(request, send))
                if request.failures or request.alerts:
                    await finish(request)
            except GeneratorExit:
                _destroyed(request, token, parent, scope)
                raise
            except BaseException as exc:
                await _escaped(request, token, parent, scope, exc)
                raise
            _leave(request, token, parent, scope)
        if instrumentation.closed:
            installed.remove_when_idle()

    hook = __call__
    return hook


async def _unaccounted(app: Starlette, scope: Scope, receive: Receive, send: Send, original: Function) -> None:
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


def _started(instrumentation: Instrumentation, scope: Scope) -> None:
    """Do what is to be done while the application starts: the journal looks for what the dead have left."""
    ending.start_up()
    journal, console, on_loop = instrumentation.journal, instrumentation.console, instrumentation.on_loop
    if on_loop is not None:
        instrumentation.failsafe("watching the event loop", on_loop, instrumentation)
    if console is not None:
        instrumentation.failsafe("starting the console", console.start_up, scope.get("root_path", ""))
    if journal is not None:
        instrumentation.failsafe("opening the journal", journal.start_up)


def _hearing_last(instrumentation: Instrumentation, receive: Receive) -> Receive:
    """Tell what has not ended when the end is heard of, if no timer has seen it coming."""

    async def receive_last() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            instrumentation.failsafe("telling of the shutdown", ending.begin, instrumentation)
        return message

    return receive_last


def _telling_last(instrumentation: Instrumentation, send: Send) -> Send:
    """Report what is left before the server hears of the end, after which it may end the process at once."""

    async def send_last(message: Message) -> None:
        if message["type"] in _LAST_MESSAGES:
            await end(instrumentation, _concerns_us)
        await send(message)

    return send_last


def _concerns_us(task: asyncio.Task[Any]) -> bool:
    """Return whether a task of the loop has runs that have not ended; where it keeps its context, perhaps."""
    get_context = getattr(task, "get_context", None)  # Python >= 3.12
    if get_context is None:
        return True
    context = get_context()
    request, run = request_in(context), run_in(context)
    return bool(request is not None and request.runs) or bool(run is not None and run.outcome is None)


# --- its end ----------------------------------------------------------------------------------------------------


async def _escaped(
    request: RequestState, token: RequestToken, parent: RequestState | None, scope: Scope, exc: BaseException
) -> None:
    """End a request whose exception leaves the application."""
    failure = request.instrumentation.failsafe("judging an error", record_escaped_error, request, exc)
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


def _leave(request: RequestState, token: RequestToken, parent: RequestState | None, scope: Scope) -> None:
    try:
        settle(request)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001
        request.instrumentation.record_fault("settling a request", fault)
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


# --- its answer -------------------------------------------------------------------------------------------------


def watch(request: RequestState, send: Send) -> Send:
    """Watch what leaves the application: what the innermost one says, if nothing between changes a message."""
    if request.kind != "http":
        return _watch_websocket(request, send)
    innermost, instrumentation = None, request.instrumentation
    if request.parent is None:
        if instrumentation.timed is not None:
            send = instrumentation.timed(request, send)
        stack, kept = getattr(request.app, "middleware_stack", None), instrumentation.stack
        if kept is not None and kept[0] is stack:
            innermost = kept[1]
        else:
            look = instrumentation.failsafe
            innermost = look("looking at the middleware", _innermost, instrumentation, stack)
        request.innermost = innermost

    async def watched(message: Message) -> None:
        kind = message["type"]
        starts = kind == "http.response.start"
        inside = request.inside if innermost is not None else 0
        if starts:
            request.status = message["status"]
            if inside:
                request.started, request.inner_status = True, message["status"]
        try:
            await send(message)
        except OSError as exc:
            request.lost_client = exc
            raise
        if not starts and (inside or request.inner_status is None):  # else: a middleware has the word
            if ends(kind, message):
                request.complete, request.answered_at = True, time()
            if inside and request.alerts:  # a stream may last for hours
                await tell_waiting(request)

    return watched


def _innermost(instrumentation: Instrumentation, stack: ASGIApp | None) -> object:
    """Return the exception middleware, if only FastAPI's and Starlette's own lies around it."""
    instrumentation.stack = stack, None
    layer: Any = stack
    while type(layer) is ServerErrorMiddleware or str(type(layer).__module__).startswith("fastapi."):
        layer = getattr(layer, "app", None)
    innermost = layer if type(layer) is ExceptionMiddleware else None
    instrumentation.stack = stack, innermost
    return innermost


def _watch_websocket(request: RequestState, send: Send) -> Send:
    is_open = False

    async def watched(message: Message) -> None:
        nonlocal is_open
        kind = message["type"]
        if kind in STARTS:
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
        if request.inner_status is None and ends(kind, message):
            request.complete, request.answered_at = True, time()  # a middleware answered by itself

    return watched


def _is_refusal(request: RequestState, message: Message) -> bool:
    """Return whether a message closes a WebSocket, which is not open, because of an error of its client."""
    if message["type"] != "websocket.close" or message.get("code") in _SERVERS_FAULT:
        return False
    return bool(request.failures) and request.status is None


def ends(kind: str, message: Message) -> bool:
    if kind in _BODIES:
        return not message.get("more_body", False)
    return kind == "http.response.pathsend"
