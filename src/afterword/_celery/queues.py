"""What nobody has received: whoever publishes looks into the queues, since nobody else can know.

In a thread, at most every 15 seconds, by a passive declaration, which disturbs nothing, with a second's patience.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from time import time
from typing import Any, Final, NamedTuple

from kombu.exceptions import ChannelError

from .._common import forks
from .._common.log import once, warn
from .._common.own_thread import started_thread
from . import headers, pipe
from .instrumentation import CeleryInstrumentation
from .redelivery import briefly_connected

EVERY_SECONDS: Final = 15.0
_MOST: Final = 100
_LONGEST: Final = 1 << 20


class Depth(NamedTuple):
    """How full a queue is."""

    system: str
    queue: str
    messages: int
    oldest_age: float | None
    """Seconds since its oldest message was published; ``None`` where the broker does not tell."""


Tell = Callable[[list[Depth]], object]


class Watch:
    """The queues that one application has published to from this process."""

    def __init__(self, app: Any, known: CeleryInstrumentation, tell: Tell, every: float = EVERY_SECONDS) -> None:
        self._app = app
        self._known = known
        self._tell = tell
        self._every = every
        self._queues: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        _watches.append(self)

    def note(self, queue: str) -> None:
        """Look into this queue from now on."""
        if queue not in self._queues and len(self._queues) < _MOST and not is_worker():
            self._thread = self._thread or started_thread(self._run, "afterword-queues")
            if self._thread is not None:
                self._queues[queue] = None

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()
        if self in _watches:
            _watches.remove(self)

    def forget(self) -> None:
        """In a forked child, start anew."""
        self._queues = {}
        self._thread = None
        self._stopped = threading.Event()

    def _run(self) -> None:
        stopped = self._stopped
        while not stopped.wait(min(1.0, self._every)):
            try:
                self._tell(self.look())
            except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
                if once.first("queues", self._known.system(self._app)):
                    warn("the queues cannot be looked into; what nobody receives is not seen: %r", fault)
            if stopped.wait(self._every):
                return

    def look(self) -> list[Depth]:
        """Ask the broker about each queue."""
        system = self._known.system(self._app)
        found: list[Depth] = []
        with briefly_connected(self._app) as connection:
            for queue in list(self._queues):
                channel = connection.channel()
                try:
                    messages = channel.queue_declare(queue, passive=True).message_count
                except ChannelError:  # Redis has no empty queue; RabbitMQ has closed the channel
                    if system == "redis":
                        found.append(Depth(system, queue, 0, 0.0))
                    continue
                found.append(Depth(system, queue, messages, _oldest_age(channel, queue, messages)))
                channel.close()
        return found


def _oldest_age(channel: Any, queue: str, messages: int) -> float | None:
    """Return the age of the message that is next, where it can be looked at without taking it."""
    if not hasattr(channel, "conn_or_acquire"):
        return None
    if not messages:
        return 0.0
    with channel.conn_or_acquire() as client:
        data = client.lindex(queue, -1)
    if not data or len(data) > _LONGEST:
        return None
    try:
        said = json.loads(data).get("headers")
    except (ValueError, AttributeError, RecursionError):
        return None
    at = headers.published_at(said) if isinstance(said, dict) else None
    return None if at is None else max(0.0, time() - at)


_watches: list[Watch] = []
_is_worker = False


def is_worker() -> bool:
    """Return whether this process is a worker's: its threads may be greenlets, and must not wait for a socket."""
    return _is_worker or pipe.in_child()


def become_worker(**more: Any) -> None:
    """Receive ``worker_init``."""
    global _is_worker
    _is_worker = True


def _forget() -> None:
    for watch in _watches:
        watch.forget()


forks.in_child(_forget)
