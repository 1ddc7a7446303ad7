"""The client's side of a scenario: requests over real sockets, and everything the client gets to see."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.support.server import Server
from tests.support.stage import Stage
from tests.support.waiting import wait_until

VOLATILE_HEADERS = {"date", "server"}

Drive = Callable[["Visit"], None]


class Visit:
    """A client of one server. What it sees is kept in ``seen``, to be compared with another visit."""

    def __init__(self, server: Server, stage: Stage) -> None:
        self.server = server
        self.stage = stage
        self.seen: list[Any] = []
        self._clients = contextlib.ExitStack()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """Send a request on a connection of its own, which stays open; if it breaks, that is seen, too."""
        client = httpx.Client(base_url=self.server.url, timeout=10.0, trust_env=False, verify=False)
        self._clients.enter_context(client)
        try:
            response = client.request(method, path, **options)
        except httpx.HTTPError as exc:
            self.seen.append((method, path, type(exc).__name__))
            return None
        headers = [(k, v) for k, v in response.headers.items() if k not in VOLATILE_HEADERS]
        self.seen.append((method, path, response.status_code, headers, response.content))
        return response

    def get(self, path: str = "/", **options: Any) -> httpx.Response | None:
        return self.request("GET", path, **options)

    def post(self, path: str = "/", **options: Any) -> httpx.Response | None:
        return self.request("POST", path, **options)

    @contextlib.contextmanager
    def raw(self, path: str = "/") -> Iterator[socket.socket]:
        """Send a GET by hand; leaving the context hangs up."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10.0) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
            yield connection

    @contextlib.contextmanager
    def websocket(self, path: str = "/ws") -> Iterator[ClientConnection]:
        """Open a WebSocket."""
        with connect(f"ws://127.0.0.1:{self.server.port}{path}", close_timeout=2) as connection:
            yield connection

    @contextlib.contextmanager
    def elsewhere(self, app: Any) -> Iterator[Visit]:
        """Visit another application of the same scenario, on a server of its own."""
        with self.stage.serve(app) as server:
            visit = Visit(server, self.stage)
            try:
                yield visit
            finally:
                visit.close()
                self.seen += visit.seen

    def wait_for(self, *done: Any) -> None:
        """Wait until the tasks did all of that."""
        wait_until(
            lambda: all(self.stage.did.count(what) >= done.count(what) for what in done),
            why=lambda: f"waited for {done}, had {self.stage.did}",
        )

    def wait_for_quiet(self) -> None:
        """Wait until the server has no request in progress, tasks included."""
        wait_until(lambda: not self.server.server_state.tasks)

    def close(self) -> None:
        self._clients.close()


def get(*paths: str) -> Drive:
    """Drive a scenario by one GET after the other, each when the tasks of the one before have ended."""

    def drive(visit: Visit) -> None:
        for path in paths or ("/",):
            visit.get(path)
            visit.wait_for_quiet()

    return drive
