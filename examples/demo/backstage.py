"""What stands behind the shop when one process is not enough: a Redis, and Celery's workers."""

from __future__ import annotations

import sys
from pathlib import Path

import redis.asyncio
from redis.exceptions import ConnectionError as NoConnection

from examples.shop.queues import CONSUMED

from .process import HOST, Measured, Process, free_port

_CHILDREN = 2


class RedisProcess(Process):
    """A Redis on a free port, which keeps nothing."""

    name = "Redis"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        port = free_port()
        where = ("--port", str(port), "--bind", HOST, "--dir", str(directory))
        super().__init__(("redis-server", *where, "--save", ""), directory / "redis.log", {})
        self.url = f"redis://{HOST}:{port}/0"
        self._client = redis.asyncio.Redis(host=HOST, port=port)

    async def is_ready(self) -> bool:
        """Return whether it answers."""
        try:
            return bool(await self._client.ping())
        except NoConnection:
            return False

    async def messages(self, queue: str) -> int:
        """Return how many messages of a queue nobody has received."""
        return int(await self._client.llen(queue))

    async def _stop(self) -> None:
        await self._client.aclose()
        await super()._stop()


class WorkerProcess(Measured):
    """A worker of Celery's: a main process, which counts and serves the numbers, and its children."""

    def __init__(self, name: str, port: int, directory: Path, environment: dict[str, str]) -> None:
        self.name = name
        worker = ("celery", "-A", "examples.shop.worker", "worker", "-n", f"{name}@%h")
        options = ("-Q", ",".join(CONSUMED), "-c", str(_CHILDREN), "--without-gossip", "--without-mingle")
        served = {"AFTERWORD_WORKER_METRICS_HOST": HOST, "AFTERWORD_WORKER_METRICS_PORT": str(port)}
        command = (sys.executable, "-W", "ignore", "-m", *worker, *options)
        super().__init__(command, port, directory / f"{name}.log", environment | served)

    @property
    def pid(self) -> int:
        """The process id of its main process."""
        return self._process.pid
