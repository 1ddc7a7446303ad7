"""A request or a WebSocket that is being served, the gate at which it waits, and its client, who may go away."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

from tests.fire.plans import Plan
from tests.support.asgi import Answer

Gate = asyncio.Event | threading.Event


class Visit:
    """One of them. ``gates`` are all that there are, for the walk to open in the end."""

    task: asyncio.Task[Answer]

    def __init__(self, plan: Plan, gates: set[Gate]) -> None:
        self.plan = plan
        self.gate: Gate | None = None
        """Where it waits."""
        self.gone = asyncio.Event()
        """Set when the client goes away."""
        self.hears = False
        """Whether the application hears of that at the gate where it waits."""
        self.is_told_by_error = len(plan.jobs) == 1
        """Whether it hears of that by an error when it sends, as from later servers, not by listening."""
        self._gates = gates
        self._request_was_received = False

    def stop_at(self, gate: Any) -> Any:
        """Let the walk open a gate; return it."""
        self._gates.add(gate)
        self.gate = gate
        return gate

    async def wait(self, *, hears: bool, until_gone: bool = False) -> None:
        """Wait at a gate, perhaps until the client goes away; else whoever hears of that may cancel it."""
        waiting = [asyncio.ensure_future(each.wait()) for each in (self.stop_at(asyncio.Event()), self.gone)]
        self.hears = hears
        try:
            await asyncio.wait(waiting[: 1 + until_gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.hears = False
            for each in waiting:
                each.cancel()

    async def ask(self) -> Any:
        """Receive what a client sends: a request, and that it has gone."""
        if not self._request_was_received:
            self._request_was_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def talk(self) -> Any:
        """Receive what a WebSocket's client sends: a text when the walk opens its gate, and that it has gone."""
        if not self._request_was_received:
            self._request_was_received = True
            return {"type": "websocket.connect"}
        await self.wait(hears=True, until_gone=True)
        if self.gone.is_set():
            return {"type": "websocket.disconnect", "code": 1001}
        return {"type": "websocket.receive", "text": "go on"}


current: ContextVar[Visit] = ContextVar("visit")
"""The visit that this code serves."""
