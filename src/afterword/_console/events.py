"""What happens as it happens: server-sent events, for as long as a page is open and the server runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
from anyio.lowlevel import RunVar
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from .._views.feed import Feed
from .answers import answer, error
from .watching import RESET, Viewer, Watching, message

MOST: Final = 500
"""Streams of one process at most."""
_GRACE: Final = 0.5
# no compression, which would hold events back, and no buffer of a proxy's
_HEADERS: Final = {"content-type": "text/event-stream", "content-encoding": "identity", "x-accel-buffering": "no"}
_BEGIN: Final = b"retry: 1000\n\n"


class Events:
    """Answers with a stream of what changes. ``feed`` makes what says so, ``failed`` is told of errors in it."""

    def __init__(self, feed: Callable[[], Feed], failed: Callable[[str, BaseException], object]) -> None:
        self._feed = feed
        self._failed = failed
        self._is_closed = False
        self._watching: RunVar[Watching] = RunVar("afterword_console_watching")  # one for each event loop

    def close(self) -> None:
        """End all streams, soon."""
        self._is_closed = True

    def _of_this_loop(self) -> Watching:
        watching = self._watching.get(None)
        if watching is None:
            watching = Watching(self._feed, lambda: self._is_closed, self._failed)
            self._watching.set(watching)
        return watching

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, until its client goes away or the server is about to end."""
        watching = self._of_this_loop()
        if watching.size >= MOST:
            await error(503, f"{MOST} pages are open already", {"retry-after": "60"})(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await answer(more=_HEADERS)(scope, receive, send)
            return
        last = Headers(scope=scope).get("last-event-id")
        viewer = watching.join(last)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                tasks.start_soon(_until_ended, watching, tasks.cancel_scope)
                tasks.start_soon(watching.ask)
                await _write(watching, viewer, send, is_first=last is None)
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as several:
            raise _only(several) from None
        finally:
            watching.leave(viewer)


async def _write(watching: Watching, viewer: Viewer, send: Send, *, is_first: bool) -> None:
    begin = answer(more=_HEADERS).raw_headers
    # of an unknown length
    begin = [header for header in begin if header[0] != b"content-length"]
    await send({"type": "http.response.start", "status": 200, "headers": begin})
    # from here on it can be told what was missed, also where nothing happens before the connection is lost
    await send(_part(_BEGIN + f"id: {watching.cursor}\n\n".encode() if is_first else _BEGIN))
    while not viewer.is_over:
        events = await viewer.take()
        if viewer.lost:
            viewer.lost, events = False, message(RESET, watching.cursor, b"{}")
        if events:
            await send(_part(events))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _part(data: bytes) -> Any:
    return {"type": "http.response.body", "body": data, "more_body": True}


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _until_ended(watching: Watching, scope: anyio.CancelScope) -> None:
    """Break a stream off whose client does not even take its end."""
    await watching.ended.wait()
    await anyio.sleep(_GRACE)
    scope.cancel()


def _only(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a task group has wrapped."""
    found: BaseException = several
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
