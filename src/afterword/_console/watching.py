"""Who looks at the console now, and what has happened meanwhile: asked for once, for all who look."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel

from .._common.model import STATE_PENDING, STATE_RUNNING
from .._ledger.server import is_ending
from .._views.feed import Feed
from .._views.keys import iso, keys_in_list
from .answers import as_json
from .reading import own_thread

_TICK: Final = 0.25
_TICKS_A_POLL: Final = 2
_MANY: Final = 10
"""Viewers, above which they are told half as often."""
_TICKS_AFTER_A_FAULT: Final = 40
_MOST_WAITING: Final = 8
_KEPT: Final = 64
_MOST_BYTES: Final = 1 << 20
_FORGOTTEN_AFTER: Final = 60.0
_AT_ONCE: Final = 4

_ALIVE_SECONDS: Final = 15.0
_ALIVE: Final = b": alive\n\n"

RESET: Final = "reset"
CHANGED: Final = "changed"


class News:
    """Tells a page what has changed, if anything has."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._in_flight: tuple[int, int] | None = None
        self.is_much = False
        """More happened lately than is told."""

    def poll(self) -> bytes | None:
        """Return what has changed as JSON; ``None`` if nothing has. May block, and raise ``OSError``."""
        changes = self._feed.poll()
        before, self._in_flight = self._in_flight, (changes.pending, changes.running)
        self.is_much = changes.total > len(changes.ended)
        if not changes.total and before in (None, self._in_flight):
            return None
        now = time.time()
        return as_json(
            {
                "at": iso(now),
                "ended": [keys_in_list(record, now) for record in changes.ended],
                "ended_total": changes.total,
                STATE_PENDING: changes.pending,
                STATE_RUNNING: changes.running,
            }
        )


def message(event: str, number: str, data: bytes) -> bytes:
    """Return a server-sent event; the data is one line, as JSON is."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (event.encode(), number.encode(), data)


class Viewer:
    """One page that is open: what it has not been sent yet. One that is too slow loses it, and is told so."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._news = anyio.Event()
        self.lost = False
        """It was not sent everything."""
        self.is_over = False
        """Its stream is to end."""

    def put(self, event: bytes) -> None:
        """Let the page have an event, unless too many wait already."""
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.clear()
            self.lost = True
        if not self.lost:
            self._waiting.append(event)
        self._news.set()

    def end(self) -> None:
        """Let the page's stream end."""
        self.is_over = True
        self._news.set()

    async def take(self) -> bytes:
        """Return what waits, as soon as anything does; nothing if the stream is over."""
        if not (self._waiting or self.lost or self.is_over):
            self._news = anyio.Event()
            await self._news.wait()
        taken = b"".join(self._waiting)
        self._waiting.clear()
        return taken


class Watching:
    """The viewers of one event loop. One of them asks what is new, for all: nobody looks, nobody asks."""

    def __init__(
        self,
        feed: Callable[[], Feed],
        is_closed: Callable[[], bool],
        failed: Callable[[str, BaseException], object],
    ) -> None:
        self._make_feed = feed
        self._is_closed = is_closed
        self._failed = failed
        self._viewers: set[Viewer] = set()
        self._asking = anyio.Lock()
        self.ended = anyio.Event()
        """The server or the console ends, and so do all streams."""
        self._left_at = 0.0
        self._told_at = time.monotonic()
        self._forget()

    def _forget(self) -> None:
        self._news: News | None = None
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._size = 0
        self._count = 0
        self._name = secrets.token_hex(4)

    @property
    def size(self) -> int:
        """How many look."""
        return len(self._viewers)

    @property
    def cursor(self) -> str:
        """The number of the latest event; it means nothing to another process."""
        return f"{self._name}-{self._count}"

    def join(self, last: str | None) -> Viewer:
        """Let a viewer in who has seen everything up to an event; ``None`` for one who has seen nothing."""
        if not self._viewers and time.monotonic() - self._left_at > _FORGOTTEN_AFTER:
            self._forget()
        viewer = Viewer()
        if last is not None:
            missed = self._since(last)
            viewer.lost = missed is None or len(missed) > _MOST_WAITING
            for event in missed or ():
                viewer.put(event)
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)
        self._left_at = time.monotonic()

    def _since(self, last: str) -> list[bytes] | None:
        """Return the events after one; ``None`` if some are not known any more."""
        name, _, number = last.partition("-")
        if name != self._name or not (number.isascii() and number.isdecimal() and len(number) < 18):
            return None
        oldest = self._kept[0][0] if self._kept else self._count + 1
        if not oldest - 1 <= int(number) <= self._count:
            return None
        return [event for count, event in self._kept if count > int(number)]

    async def ask(self) -> None:
        """Ask what is new for all viewers, as soon as none of them does; until this one leaves, or all end."""
        async with self._asking:
            wait = 0
            while not self.ended.is_set():
                if is_ending() or self._is_closed():
                    self.ended.set()
                    break
                if not wait:
                    wait = self._pause() if await self._poll() else _TICKS_AFTER_A_FAULT
                wait -= 1
                await anyio.sleep(_TICK)
        for viewer in self._viewers:
            viewer.end()

    def _pause(self) -> int:
        """Return for how many ticks nothing is asked: more where there are many to tell, or much to tell."""
        pause = _TICKS_A_POLL
        if len(self._viewers) > _MANY:
            pause *= 2
        if self._news is not None and self._news.is_much:
            pause *= 2
        return pause

    async def _poll(self) -> bool:
        """Ask, and let all viewers know; return whether it could be asked."""
        with anyio.CancelScope(shield=True):  # what was read is read: all viewers have to get it
            try:
                found = await own_thread.run(self._poll_feed)
            except Exception as fault:  # noqa: BLE001  it is asked again later
                self._failed("asking what is new", fault)
                return False
            if found is not None:
                await self._tell(self._numbered(found))
            elif time.monotonic() - self._told_at > _ALIVE_SECONDS:
                await self._tell(_ALIVE)  # so that nothing in between takes the connection for a dead one
        return True

    def _numbered(self, found: bytes) -> bytes:
        """Return an event, which is kept for who comes back."""
        self._count += 1
        event = message(CHANGED, self.cursor, found)
        self._kept.append((self._count, event))
        self._size = sum(len(kept) for _, kept in self._kept)
        while self._size > _MOST_BYTES and len(self._kept) > 1:
            self._size -= len(self._kept.popleft()[1])
        return event

    async def _tell(self, event: bytes) -> None:
        self._told_at = time.monotonic()
        for number, viewer in enumerate(tuple(self._viewers)):
            viewer.put(event)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await anyio.lowlevel.checkpoint()  # so that no request waits until all of them are served

    def _poll_feed(self) -> bytes | None:
        if self._news is None:
            self._news = News(self._make_feed())
        return self._news.poll()
