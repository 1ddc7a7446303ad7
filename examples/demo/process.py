"""Processes that the demo starts, watches and ends: the shop, served by uvicorn, and what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx

HOST = "127.0.0.1"
_PATIENCE = 30.0


def free_port(wanted: int = 0) -> int:
    """Return the wanted port of the loopback interface, or another one where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("there is no free port on the loopback interface")


class Process:
    """A process with a log of its own, from entering the context to leaving it; what it starts ends with it."""

    name = "the process"
    """What it is called where it does not start."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self._command = command
        self._environment = os.environ | environment

    async def __aenter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the process
            )
        try:
            await self._ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stop()

    async def is_ready(self) -> bool:
        """Return whether it answers."""
        return True

    async def wait(self, seconds: float | None) -> bool:
        """Wait so long, or until the process ends by itself; tell whether it still runs."""
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return True
        return False

    async def kill(self) -> None:
        """End it at once, with all that it has started, as the system does when it is out of memory."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            if await self.is_ready():
                return
            if not await self.wait(0.1):
                break
        last_lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"{self.name} did not start; the end of its log, {self.log}:\n{last_lines}")

    async def _stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await self.wait(10)
            finally:  # also where a second Ctrl-C cuts the wait short
                if self._process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self._process.pid, signal.SIGKILL)


class Measured(Process):
    """A process that answers a scrape."""

    def __init__(self, command: Sequence[str], port: int, log: Path, environment: dict[str, str]) -> None:
        super().__init__(command, log, environment)
        self.url = f"http://{HOST}:{port}"
        self._client = httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False)

    async def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            return (await self._client.get(self._health)).is_success
        except httpx.TransportError:
            return False

    _health = "/metrics"

    async def metrics(self) -> str:
        """Scrape ``/metrics``."""
        response = await self._client.get("/metrics")
        return response.raise_for_status().text

    async def _stop(self) -> None:
        await self._client.aclose()
        await super()._stop()


class ShopProcess(Measured):
    """A uvicorn process that serves the shop."""

    name = "the shop"
    _health = "/health"

    def __init__(self, port: int, log: Path, environment: dict[str, str]) -> None:
        server = ("uvicorn", "examples.shop.app:app", "--host", HOST, "--port", str(port))
        options = ("--no-access-log", "--timeout-graceful-shutdown", "5")
        super().__init__((sys.executable, "-m", *server, *options), port, log, environment)

    async def ask(self, path: str, token: str) -> Any:
        """Ask the API of the shop's console."""
        response = await self._client.get(path, headers={"authorization": f"Bearer {token}"})
        return response.raise_for_status().json()
