"""A real uvicorn server in a thread of its own, on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

PATIENCE = 15.0


class Server(uvicorn.Server):
    """Serves one application from entering the context to leaving it."""

    def __init__(self, app: Any, *, grace: float = 10.0) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="wsproto",
            loop="asyncio",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=grace,  # type: ignore[arg-type]  # handed to asyncio.wait_for as it is
        )
        super().__init__(config)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve_in_thread, name="uvicorn", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve_in_thread(self) -> None:
        try:
            asyncio.run(self._serve_and_hang_up())
        finally:
            self._ready.set()

    async def _serve_and_hang_up(self) -> None:
        await self.serve(sockets=[self._socket])
        for connection in list(self.server_state.connections):  # of requests that outlived the grace
            connection.transport.abort()
        await asyncio.sleep(0.01)  # a transport closes its socket in the loop's next round

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        await super().startup(sockets=sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        """Tick as uvicorn does, but notice at once that the end was asked for."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.1)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(PATIENCE) or not self.started:
            raise RuntimeError("the server did not start")
        return self

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the server's event loop."""
        self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Shut down as on SIGTERM: finish what runs for as long as the grace lasts, then cancel it."""
        self.should_exit = True
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                self.call(self._wake.set)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop")

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._socket.close()
