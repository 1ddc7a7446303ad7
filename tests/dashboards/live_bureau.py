"""A bureau whose heavy work Celery does: this process publishes, real workers run, and all serve their metrics."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from afterword._ledger.instrumentation import get_instrumentation
from examples.demo.process import free_port
from tests.celery import shop
from tests.celery.brokers import redis_server
from tests.celery.stage import SECONDS, Stage, Worker
from tests.support.accounts import restored_structlog
from tests.support.threads import repeating
from tests.support.waiting import wait_until

IMPATIENT = "transport = dict(visibility_timeout=1, unacked_restore_interval=1, unacked_restore_throttle=1)"
"""A broker that soon gives a message to another worker."""
_PATIENCE = 2.0
"""Longer than that."""
_LOOKS = 0.5
"""Seconds after which who publishes looks into its queues again; of an hour's rules, a minute is left here."""
_PUBLISHES = 0.15
_UNKNOWN = "shop.adds"
"""A task that is published, and that no worker has."""


CELERY_WARNS = [
    pytest.mark.filterwarnings(f"ignore::{warning}")
    for warning in ("PendingDeprecationWarning", "DeprecationWarning", "ResourceWarning")
]
"""Celery and its clients warn about themselves."""


class Served(NamedTuple):
    """A process that serves its metrics, as a shop does."""

    address: str
    registry: CollectorRegistry | None = None
    worker: Worker | None = None

    def get(self, path: str) -> str:
        """Return what it serves."""
        return (
            self.worker.scrape() if self.worker else generate_latest(self.registry or CollectorRegistry()).decode()
        )


class Bureau:
    """Who publishes, and its workers, each at an address that it keeps."""

    def __init__(self, stage: Stage, publisher: Served) -> None:
        self.stage = stage
        self.publisher = publisher
        self.journal = str(stage.folder / "journal")

    def worker(self, port: int = 0, **more: Any) -> Worker:
        """Start a worker with one child, which lacks a task, and leave what it does in a journal."""
        port = port or free_port()
        known = {"SHOP_WITHOUT": _UNKNOWN, "AFTERWORD_JOURNAL": self.journal}
        return self.stage.worker("prefork", "-c1", port=port, **known, **more)

    def publish_to_nobody(self) -> None:
        """Publish what nobody consumes."""
        self.stage.publish("works", queue="nobody")

    def trouble_itself(self) -> None:
        """Publish what nobody consumes, what no worker has, and what kills who runs it."""
        self.publish_to_nobody()
        self.stage.publish(_UNKNOWN.removeprefix("shop."))
        self.stage.publish("killed")
        self.stage.publish("killed_once")
        self.stage.publish("retries", 1)

    def run_twice(self) -> None:
        """Let two workers have the same task, and end first the one that has its message no more."""
        self.stage.publish("waits_apart", "twice")
        self.stage.wait_begun("twice", 2)
        since = time.monotonic()
        wait_until(lambda: time.monotonic() - since > _PATIENCE)
        self.stage.open("twice1")
        wait_until(lambda: any("taken_away" in key for key in self.stage.counted()), SECONDS, self.stage.report)
        for number in range(2, 20):
            self.stage.open(f"twice{number}")

    def kill(self, worker: Worker) -> None:
        """Kill a worker that has begun a task; the next one at its address finds that in the journal."""
        for _ in self.stage.workers:
            self.stage.publish("waits", "for ever")
        self.stage.wait_begun("for ever", len(self.stage.workers))
        wait_until(lambda: self.stage.counted()["running waits"] == len(self.stage.workers), SECONDS)
        worker.kill()
        self.stage.workers.remove(worker)
        self.stage.open("for ever")

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish more to a queue than its worker takes."""

        def publish(over: threading.Event) -> None:
            self.stage.publish("dawdles", queue="slow")
            over.wait(_PUBLISHES)

        with repeating(publish):
            yield


@contextmanager
def bureau(folder: Path) -> Iterator[Bureau]:
    """Open a bureau without workers, on a Redis of its own."""
    folder.mkdir(parents=True)
    with redis_server(folder) as redis, restored_structlog():
        shop.logging_to(folder)
        stage = Stage(folder, redis)
        watch = getattr(get_instrumentation(stage.app), "watch")  # noqa: B009  of Celery's instrumentations alone
        watch._every = _LOOKS
        server, thread = start_http_server(0, "127.0.0.1", stage.registry)
        try:
            yield Bureau(stage, Served(f"127.0.0.1:{server.server_port}", stage.registry))
        finally:
            stage.close()
            server.shutdown()
            server.server_close()
            thread.join()
