"""A console in this process, whoever asks it, and what it answers."""

from __future__ import annotations

import json
from typing import Any

import anyio

from tests.support.asgi import Answer, Headers, ask, http_scope, with_header
from tests.support.waiting import SECONDS, wait_until_async

PATH = "/afterword"
TOKEN = "the-token-of-the-tests"
KNOWN = with_header("authorization", f"Bearer {TOKEN}")
VIEWS = ("summary", "causes", "tasks", "requests", "runs", "now")


def api(app: Any, question: str, *, path: str = PATH, headers: Headers = KNOWN) -> Answer:
    """Ask the API."""
    return ask(app, f"{path}/api/{question}", headers=headers)


def told(app: Any, question: str, *, path: str = PATH) -> Any:
    """Return what the API answers to whoever knows the token."""
    answer = api(app, question, path=path)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def wrong(answer: Answer) -> str:
    """Return what an answer says is wrong."""
    assert answer.headers["content-type"] == "application/json"
    text: str = json.loads(answer.body)["error"]
    return text


class Stream:
    """A page that has the console's events open, on whatever event loop there is."""

    def __init__(self, app: Any, *, last: str | None = None, path: str = PATH) -> None:
        self._app = app
        self._scope = http_scope(f"{path}/api/events", headers=KNOWN)
        if last is not None:
            self._scope["headers"] += with_header("last-event-id", last)
        self._leave = anyio.Event()
        self.reads = anyio.Event()
        """Unless it is set, nothing that is sent gets through."""
        self.reads.set()
        self.over = anyio.Event()
        """It has ended."""
        self.headers: dict[str, str] = {}
        self.events: list[tuple[str, str, Any]] = []
        """The event, its id and its data."""
        self.parts: list[bytes] = []
        self.first_id: str | None = None

    async def open(self) -> None:
        """Keep it open until one leaves, or it ends."""
        await self._app(self._scope, self._receive, self._send)
        self.over.set()

    def leave(self) -> None:
        """Close the page."""
        self._leave.set()

    async def event(self, number: int) -> tuple[str, str, Any]:
        """Return an event, as soon as it has come."""
        with anyio.fail_after(SECONDS):
            await wait_until_async(lambda: len(self.events) > number)
        return self.events[number]

    async def begun(self) -> None:
        """Wait until it has begun."""
        with anyio.fail_after(SECONDS):
            await wait_until_async(lambda: self.parts)

    async def ended(self) -> None:
        """Wait until it has ended."""
        with anyio.fail_after(SECONDS):
            await self.over.wait()

    async def _receive(self) -> dict[str, Any]:
        await self._leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
            return
        self.parts.append(message["body"])
        for block in message["body"].decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":") and line)
            if "data" in fields:
                self.events.append((fields["event"], fields["id"], json.loads(fields["data"])))
            elif "id" in fields:
                self.first_id = fields["id"]
