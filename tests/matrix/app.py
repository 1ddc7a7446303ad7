"""What a server of the matrix serves: `tests.matrix.app:app`, made as the environment variable `MATRIX` says.

The application stands inside a control panel of its own: requests below `/-/` are commands and questions of the
one who drives, and reach neither the application nor anything that watches it. Whatever leaves the application is
noted there, so that it is the same on every server.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
from typing import Any

import anyio

from tests.matrix.peers import PEERS, Peer
from tests.support.waiting import wait_until_async

_PATIENCE = 10.0


class Panel:
    """The application and everything that was done to it."""

    def __init__(self, *, peer: str, late: bool, watched: bool, kind: str, eager: bool) -> None:
        self.eager = eager
        self.watched = watched
        self.peer: Peer = PEERS[peer]()
        if not late:
            self.peer.start()
        # FastAPI is imported only now: a peer may have to come before it
        from tests.matrix.account import Account
        from tests.matrix.application import fastapi_app, starlette_app

        self.account = Account(self.peer)
        options = self.peer.options(self.account) if kind == "fastapi" else {}
        self.app = fastapi_app(**options) if kind == "fastapi" else starlette_app()
        if late:
            self.instrument()
            self.peer.start()
        self.peer.attach(self.app, self.account)
        if not late:
            self.instrument()
        self.in_progress = 0
        self.played: list[str] = []
        self.escaped: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer for the panel, or let the application."""
        if scope["type"] == "lifespan":
            if self.eager:
                asyncio.get_running_loop().set_task_factory(_eager)
            await self.app(scope, receive, send)
        elif scope["path"].startswith("/-/"):
            answer = await getattr(self, scope["path"][3:])()
            await _send_json(send, answer)
        else:
            await self._play(scope, receive, send)

    async def _play(self, scope: Any, receive: Any, send: Any) -> None:
        self.in_progress += 1
        if scope["path"] != "/metrics":
            self.played.append(scope["path"])
        try:
            await self.app(scope, receive, send)
        except BaseException as exc:
            self.escaped.append(" from ".join(_chain(exc)))
            raise
        finally:
            self.in_progress -= 1

    def instrument(self) -> None:
        """Put ours in, where this application is to be watched at all."""
        if self.watched:
            self.account.open(self.app)

    # --- what the driver asks for ----------------------------------------------------------------------------

    async def ours_on(self) -> None:
        """Put ours in while the application serves."""
        self.instrument()

    async def ours_off(self) -> None:
        """Take ours out while the application serves."""
        if self.watched:
            self.account.close(self.app)

    async def peer_off(self) -> None:
        """Take the peer out while the application serves."""
        self.peer.detach(self.app)

    async def quiet(self) -> None:
        """Answer when no request is in progress, tasks included."""
        with anyio.fail_after(_PATIENCE):
            await wait_until_async(lambda: not self.in_progress)

    async def holding(self) -> None:
        """Answer when the task runs that has to be released."""
        from tests.matrix import tasks

        with anyio.fail_after(_PATIENCE):
            await wait_until_async(lambda: any(deed.startswith("hold begins") for deed in tasks.did))

    async def release(self) -> None:
        """Let that task go on."""
        from tests.matrix import tasks

        tasks.release()

    async def report(self) -> dict[str, Any]:
        """Close an act: what the application did, what the account says, what the peer says."""
        from tests.matrix import tasks

        gc.collect()
        played, self.played = self.played, []
        escaped, self.escaped = self.escaped, []
        did, tasks.did[:] = list(tasks.did), []
        problems = await self.account.problems(played) if self.watched else {}
        return {
            "did": did,
            "escaped": escaped,
            "problems": problems,
            "telemetry": sorted(self.peer.telemetry()),
            "spans": self.account.spans_of_act(),
        }


def _eager(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make an eager task; asyncio's own factory refuses what uvloop 0.23 passes, before Python 3.13.3."""
    return asyncio.Task(coroutine, loop=loop, **(options | {"eager_start": True}))


def _chain(exc: BaseException | None) -> list[str]:
    found: list[str] = []
    while exc is not None and len(found) < 10:
        found.append(f"{type(exc).__name__}({exc})")
        exc = exc.__cause__
    return found


async def _send_json(send: Any, answer: Any) -> None:
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = Panel(**json.loads(os.environ["MATRIX"]))
