"""Calls an application in this process by its ASGI interface alone, and keeps everything it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

Headers = Iterable[tuple[bytes, bytes]]


@dataclass
class Answer:
    """What an application sent for one request, and the error that came out of it."""

    messages: list[Any] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def status(self) -> int | None:
        starts = [m["status"] for m in self.messages if m["type"] == "http.response.start"]
        return starts[0] if starts else None

    @property
    def headers(self) -> dict[str, str]:
        [start] = [m for m in self.messages if m["type"] == "http.response.start"]
        return {key.decode(): value.decode() for key, value in start["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")

    @property
    def text(self) -> str:
        return self.body.decode()


def http_scope(path: str, method: str = "GET", headers: Headers = ()) -> dict[str, Any]:
    """Make the ASGI scope of a request."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
    }


def websocket_scope(path: str) -> dict[str, Any]:
    """Make the ASGI scope of a WebSocket."""
    scope = http_scope(path) | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    return scope


async def call(app: Any, path: str = "/", method: str = "GET", headers: Headers = (), body: bytes = b"") -> Answer:
    """Send one request; errors that leave the application are kept in the answer."""
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if not requests:
            await asyncio.Event().wait()  # the client stays
        return requests.pop()

    return await serve(app, http_scope(path, method, headers), receive)


async def serve(
    app: Any, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], gone: asyncio.Event | None = None
) -> Answer:
    """Let an application answer; errors that leave it are kept. A client that is ``gone`` is sent nothing."""
    answer = Answer()

    async def send(message: Any) -> None:
        if gone is not None and gone.is_set():
            raise OSError("the client is gone")
        answer.messages.append(message)

    try:
        await app(scope, receive, send)
    except Exception as exc:
        answer.error = exc
    return answer


def ask(app: Any, path: str = "/", method: str = "GET", headers: Headers = (), body: bytes = b"") -> Answer:
    """Send one request on an event loop of its own, and wait for its background tasks."""
    return asyncio.run(call(app, path, method, headers, body))


def with_header(name: str, value: str) -> list[tuple[bytes, bytes]]:
    """Make the headers of a request from one name and value."""
    return [(name.encode(), value.encode())]


async def websocket(app: Any, path: str, conversation: Callable[[Any, Any], Awaitable[None]]) -> None:
    """Open a WebSocket; ``conversation`` gets a function to send text and one to receive messages."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    scope = websocket_scope(path)
    inbox.put_nowait({"type": "websocket.connect"})
    serving = asyncio.create_task(app(scope, inbox.get, outbox.put))

    async def say(text: str) -> None:
        await inbox.put({"type": "websocket.receive", "text": text})

    await outbox.get()
    await conversation(say, outbox.get)
    await inbox.put({"type": "websocket.disconnect", "code": 1000})
    await serving
