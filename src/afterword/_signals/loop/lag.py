"""How late an event loop is to do what is due: what holds it up holds up every request and task of its process.

A timer of the loop's own comes back twice a second and looks at the clock, which costs a task and a request
nothing. Trio's loop has no such timer, and is not watched.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from ..._common import forks
from ..._common.faults import contained
from ..tellers import Teller
from . import blocked
from .blocked import Blockages, Running, look_after

INTERVAL: Final = 0.5
"""Seconds between two looks at the clock."""


class Listener(Protocol):
    """A metric that is told of each lag."""

    def lagged(self, seconds: float) -> None:
        """Count a lag, in seconds."""
        ...

    def blocked(self, seconds: float, task: str | None) -> None:
        """Count a lag that is long enough to be told, and the task that held the loop up, if one did."""
        ...


class User(Protocol):
    """For whom a loop is watched."""

    closed: bool


EachTime = Callable[[], object]
"""Called each time that a loop's timer comes back."""

listeners: weakref.WeakSet[Any] = weakref.WeakSet()
"""Whoever counts lags in this process."""

_watches: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watch] = weakref.WeakKeyDictionary()


class Watch:
    """Watches one event loop, from within."""

    def __init__(self, loop: asyncio.AbstractEventLoop, blockages: Blockages) -> None:
        self.users: weakref.WeakKeyDictionary[Any, tuple[EachTime | None, Sequence[Teller]]] = (
            weakref.WeakKeyDictionary()
        )
        """For whom it is watched, what they do each time, and whom they tell of a loop that was blocked."""
        self.thread = threading.get_ident()
        self.due = time.monotonic() + INTERVAL
        """When the timer comes back, if nothing holds the loop up."""
        self._loop = weakref.ref(loop)
        self._blockages = blockages
        self._stood_still = False
        loop.call_later(INTERVAL, self._tick)
        look_after(self, blockages)

    def overdue(self) -> float:
        """Return for how long the loop has been held up by now, in seconds; 0 for one that nobody runs."""
        loop = self._loop()
        if loop is None or not loop.is_running():
            self._stood_still = True
            return 0.0
        return time.monotonic() - self.due

    def is_over(self) -> bool:
        """Return whether the loop is closed: its timer will not come back."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    def _tick(self) -> None:
        loop = self._loop()
        users = [(user, each_time) for user, each_time in list(self.users.items()) if not user.closed]
        if loop is None or not users:
            if loop is not None:
                _watches.pop(loop, None)
            return
        with contained():
            self._count(time.monotonic() - self.due, [teller for _, (_, tellers) in users for teller in tellers])
        for _, (each_time, _) in users:
            if each_time is not None:
                with contained():
                    each_time()
        self.due = time.monotonic() + INTERVAL
        loop.call_later(INTERVAL, self._tick)

    def _count(self, lag: float, tellers: list[Teller]) -> None:
        if self._stood_still:  # between two runs of the loop there was nobody to be held up
            self._stood_still = False
            return
        held = self._blockages.over(lag, tellers)
        for listener in list(listeners):
            with contained():
                listener.lagged(max(0.0, lag))
                if lag >= blocked.BLOCKED:
                    listener.blocked(lag, held.run.name if held is not None and held.run is not None else None)


def watch(user: User, running: Running, tellers: Sequence[Teller], *, each_time: EachTime | None = None) -> None:
    """Watch the running event loop for somebody, from now until they are closed.

    ``running`` returns the runs of this process that are running. ``tellers`` are told of a loop that was blocked.
    ``each_time`` is called twice a second, on the loop.
    """
    loop = asyncio._get_running_loop()  # none under trio
    if loop is None:
        return
    known = _watches.get(loop)
    if known is None:
        known = _watches[loop] = Watch(loop, Blockages(running))
    known.users[user] = each_time, tellers


def _forget() -> None:
    _watches.clear()


forks.in_child(_forget)
