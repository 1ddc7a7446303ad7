"""One call of an application: whose request it is, how it begins, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .._ledger import deferred as lifetimes
from .._ledger import shutdown as flushing
from .._ledger.instrumentation import Account
from . import ending, response
from . import exception_handlers as errors
from . import state as request
from . import unstarted as verdict
from .state import RequestScope

Call = Callable[..., Awaitable[None]]

_LAST_MESSAGES = ("lifespan.shutdown.complete", "lifespan.shutdown.failed", "lifespan.startup.failed")


def choose(account: Account | None, scope: Any) -> Call | None:
    """Return how to call an application: accounted for, without account, or ``None``: as if we were not there."""
    if account is None:
        # not instrumented: what is mounted joins the account around it, a stranger has none
        stranger = request.current() is not None and request.joined(scope) is None
        return _unaccounted if stranger else None
    if scope["type"] in ("http", "websocket") and not _is_scrape(account, scope):
        return _accounted
    return _lifespan if scope["type"] == "lifespan" else _unaccounted


def _is_scrape(account: Account, scope: Any) -> bool:
    route = account.route
    if route is None or scope["path"].removeprefix(scope.get("root_path", "")) != route.path:
        return False
    return not route.gives_way(scope)


async def _unaccounted(
    app: Any, account: Account | None, scope: Any, receive: Any, send: Any, original: Call
) -> None:
    token = request.enter(None)
    try:
        await original(app, scope, receive, send)
    except GeneratorExit:
        request.take_back(None, token)
        raise
    except BaseException:
        request.leave(token)
        raise
    request.leave(token)
    lifetimes.drain()


async def _lifespan(app: Any, account: Account, scope: Any, receive: Any, send: Any, original: Call) -> None:
    """Report what is left before the server hears of the end, after which it may end the process at once."""

    async def send_last(message: Any) -> None:
        if message["type"] in _LAST_MESSAGES:
            await ending.let_cancelled_end()
            lifetimes.drain()
            await flushing.flush()
        await send(message)

    await _unaccounted(app, account, scope, receive, send_last, original)


async def _accounted(app: Any, account: Account, scope: Any, receive: Any, send: Any, original: Call) -> None:
    parent = request.joined(scope)
    here = RequestScope(account, scope, app, parent)
    token = request.enter(here)
    try:
        await original(app, scope, receive, response.watch_outside(here, send))
        if here.failures or here.alerts:
            await errors.finish(here)
    except GeneratorExit:
        _destroyed(here, token, parent, scope)
        raise
    except BaseException as exc:
        failure = account.guard("judging an error", here.error_left, exc)
        try:
            if verdict.is_error(exc):
                await errors.finish(here)
        except GeneratorExit:
            _destroyed(here, token, parent, scope)
            raise
        except BaseException:
            _leave(here, token, parent, scope)
            raise
        _leave(here, token, parent, scope)
        if here.task_logged if here.task_failed else failure and failure.logged:
            request.reported_exception.set(id(exc))
        raise
    _leave(here, token, parent, scope)


async def end_late(here: RequestScope, exc: BaseException | None = None) -> None:
    """End a request whose endpoint a middleware has let go on, as a timeout does that shields it."""
    if here.over:
        try:
            if exc is None or verdict.is_error(exc):
                await errors.finish(here)
        finally:
            here.account.guard("settling a request", here.settle_rest)


def _leave(here: RequestScope, token: Any, parent: RequestScope | None, scope: Any) -> None:
    try:
        here.account.guard("settling a request", here.settle)
    finally:
        request.leave(token)
        if parent is not None:
            scope[request.SCOPE_KEY] = parent


def _destroyed(here: RequestScope, token: Any, parent: RequestScope | None, scope: Any) -> None:
    """Leave a request whose coroutine is being destroyed, perhaps by the collector inside somebody's lock."""
    lifetimes.defer(here.settle)  # only queued
    request.take_back(here, token)
    if parent is not None:
        scope[request.SCOPE_KEY] = parent
