"""A real uvicorn that serves the application with its console, and can be started anew at the same address."""

from __future__ import annotations

import contextlib
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from examples.demo.process import free_port
from tests.support.processes import plain_environment, server_process
from tests.support.waiting import wait_until

from .hostile import SCRIPT

TOKEN = "a-token-of-the-tests-0123456789"
TRACE_URL = "https://traces.example/{trace_id}"
PATH = "/afterword/"


class Site:
    """The application's address, from starting its server to ending it, and again."""

    def __init__(self, directory: Path, workers: int = 1) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.console = f"{self.url}{PATH}"
        self._directory = directory
        self._workers = workers
        self._starts = 0

    @contextlib.contextmanager
    def serve(self, token: str = TOKEN) -> Iterator[Site]:
        """Serve, with a journal that is kept over restarts."""
        self._starts += 1
        command = [sys.executable, "-m", "uvicorn", "tests.console.app:app", "--port", str(self.port)]
        options = ["--no-access-log", "--workers", str(self._workers), "--timeout-graceful-shutdown", "1"]
        environment = plain_environment() | {
            "AFTERWORD_CONSOLE": PATH.rstrip("/"),
            "AFTERWORD_CONSOLE_TOKEN": token,
            "AFTERWORD_JOURNAL": str(self._directory / "journal"),
            "AFTERWORD_TRACE_URL": TRACE_URL,
            "PYTHONWARNINGS": "",
        }
        log = self._directory / f"server{self._starts}.log"
        with server_process(command + options, log, environment):
            wait_until(self._is_up, why=log.read_text)
            yield self

    def _is_up(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/pid", timeout=2).status_code == 200
        return False

    def post(self, path: str, times: int = 1, **headers: str) -> Any:
        """Send requests, each on a connection of its own, and return the last answer."""
        answer = None
        for _ in range(times):
            answer = httpx.post(self.url + path, headers=headers, timeout=20)
        return None if answer is None or answer.status_code != 200 else answer.json()

    def ask(self, path: str, **parameters: Any) -> Any:
        """Ask the API."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.get(f"{self.console}api/{path}", params=parameters, headers=headers, timeout=20).json()

    def visit(self) -> None:
        """Let tasks end in every way that needs no death of a process."""
        self.post("/orders/1", times=3)
        self.post("/orders/1/refund", times=4)
        self.post("/orders/1/cancel", times=2)
        self.post("/pictures", times=2, **{"x-request-id": "visit-7"})
        self.post("/forgotten")
        self.post(f"/{urllib.parse.quote(SCRIPT, safe='')}/1", **{"x-request-id": SCRIPT})
        wait_until(lambda: sum(self.ask("summary")["outcomes"].values()) >= 18)
