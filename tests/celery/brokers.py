"""Redis and RabbitMQ in processes of their own: a free port, a folder of their own, ended by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kombu
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


_RABBIT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HAS_RABBITMQ = _RABBIT.exists() and shutil.which("epmd") is not None


class RabbitMQ:
    """One RabbitMQ server, with an Erlang port mapper of its own; results are kept in a Redis."""

    def __init__(self, folder: Path, redis: Redis) -> None:
        self.folder = folder
        self.redis = redis
        self.port = free_port()
        self.results = redis.results
        self._mapper: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of the broker."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start both, and wait until the broker answers."""
        mapper = str(free_port())
        self._mapper = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", mapper],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (self.folder / "plugins").write_text("[].\n")
        known = {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": mapper,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"shop{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }
        with (self.folder / "rabbitmq.log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(_RABBIT)],
                env=plain_environment() | known,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, 60)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), kombu.Connection(self.url, connect_timeout=1) as connection:
            connection.connect()
            return True
        return False

    def stop(self) -> None:
        """End both, by pid."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(10)
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait(10)


@contextlib.contextmanager
def rabbitmq_server(folder: Path, redis: Redis) -> Iterator[RabbitMQ]:
    """Run a RabbitMQ."""
    server = RabbitMQ(folder, redis)
    try:
        server.start()
        yield server
    finally:
        server.stop()
