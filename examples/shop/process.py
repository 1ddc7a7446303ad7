"""The shop as a process of its own: uvicorn, started, watched and ended by the demo."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Self

import httpx

_HOST = "127.0.0.1"
_PATIENCE = 30.0


def free_port(wanted: int = 0) -> int:
    """Return the wanted port of the loopback interface, or another one where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("there is no free port on the loopback interface")


class ShopProcess:
    """A uvicorn process that serves the shop, from entering the context to leaving it."""

    def __init__(self, port: int, log: Path, environment: dict[str, str]) -> None:
        self.url = f"http://{_HOST}:{port}"
        self.log = log
        self._port = port
        self._environment = os.environ | environment
        self._client = httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False)

    async def __aenter__(self) -> Self:
        command = ("uvicorn", "examples.shop.app:app", "--host", _HOST, "--port", str(self._port))
        options = ("--no-access-log", "--timeout-graceful-shutdown", "5")
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *command,
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends the shop
            )
        try:
            await self._opened()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stop()

    async def metrics(self) -> str:
        """Scrape ``/metrics``."""
        response = await self._client.get("/metrics")
        return response.raise_for_status().text

    async def wait(self, seconds: float | None) -> bool:
        """Wait so long, or until the process ends by itself; tell whether it still runs."""
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return True
        return False

    async def _opened(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            try:
                if (await self._client.get("/health")).is_success:
                    return
            except httpx.TransportError:
                pass
            if not await self.wait(0.1):
                break
        last_lines = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        raise RuntimeError(f"the shop did not open; the end of its log, {self.log}:\n{last_lines}")

    async def _stop(self) -> None:
        await self._client.aclose()
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await self.wait(10)
            finally:  # also where a second Ctrl-C cuts the wait short
                if self._process.returncode is None:
                    self._process.kill()
