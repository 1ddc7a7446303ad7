"""How far a request's response got: what the application says, and what leaves it through its middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_current

from . import callbacks as alerts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from .state import RequestScope

    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]


# the second of each denies a WebSocket
_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_BODIES: Final = ("http.response.body", "websocket.http.response.body")


def watch_outside(scope: RequestScope, send: Send) -> Send:
    """Watch what leaves the application: the status that was really sent."""

    async def watched(message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            scope.status = message["status"]
        try:
            await send(message)
        except OSError as exc:
            scope.lost_client = exc
            raise
        if scope.inner_status is None and _ends(kind, message):
            scope.complete = True  # a middleware answered by itself

    return watched


def watch_inside(scope: RequestScope, send: Send) -> Send:
    """Watch what the innermost application says, before any middleware changes it.

    It begins afresh: a middleware may call the application more than once for one request.
    """
    if scope.account.settings.traces:
        scope.around = get_current()
    if scope.started:
        scope.started = scope.complete = scope.task_failed = False
        scope.inner_status = None

    def watched(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in _STARTS:
            scope.started = True
            scope.inner_status = message["status"]
        elif _ends(kind, message):
            return last(message)
        elif scope.alerts:  # a stream may last for hours
            return telling(message)
        return send(message)

    async def last(message: Message) -> None:
        await send(message)
        scope.complete = True
        if scope.alerts:
            await alerts.tell_waiting(scope)

    async def telling(message: Message) -> None:
        await send(message)
        await alerts.tell_waiting(scope)

    return watched


def _ends(kind: str, message: Message) -> bool:
    if kind in _BODIES:
        return not message.get("more_body", False)
    return kind == "http.response.pathsend"
