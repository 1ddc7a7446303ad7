"""Redis and RabbitMQ in processes of their own: a free port, a folder of their own, ended by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.support.waiting import wait_until

HAS_REDIS = shutil.which("redis-server") is not None


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Redis:
    """One Redis server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the broker; the result backend is the next database."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def results(self) -> str:
        return f"redis://127.0.0.1:{self.port}/1"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", *options, "--dir", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False

    def stop(self) -> None:
        """End it by its pid."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[Redis]:
    """Run a Redis."""
    server = Redis(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def plain_environment() -> dict[str, str]:
    """Return the environment without what would configure telemetry or Celery."""
    prefixes = ("OTEL_", "AFTERWORD_", "CELERY_", "PROMETHEUS_", "SHOP_")
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
