"""Reads in a thread of its own what several may ask for at once, and no more often than the machine can bear."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import anyio

from .._common import forks
from .._common.own_thread import OwnThread
from .._ledger.journal.history import Filter, Process
from .._ledger.journal.records import Record
from .._views.reader import Reader, Source
from .answers import as_json

_SHARE: Final = 10.0
"""The same is read again after so many times the time that it took: at most a tenth of a core goes there."""
_LONGEST: Final = 3.0
_MOST_KEPT: Final = 32
_MOST_BYTES: Final = 8 << 20
_AT_ONCE: Final = 16
_PAUSE: Final = 0.0001

_one_at_a_time = forks.lock()
own_thread = OwnThread("afterword_console_reading")


class Considerate:
    """A reader that lets go between some runs and the next.

    A thread that computes gives way only every 5 ms, and the event loop has to wait for that several times in each
    request.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def ended(self, wanted: Filter | None = None) -> Iterator[Record]:
        """Yield the runs that have ended, newest first."""
        for count, record in enumerate(self._reader.ended(wanted)):
            if count % _AT_ONCE == _AT_ONCE - 1:
                time.sleep(_PAUSE)
            yield record

    def in_flight(self, wanted: Filter | None = None) -> list[Record]:
        """Return the runs in flight, and those that were in processes that died; oldest first."""
        return self._reader.in_flight(wanted)

    def processes(self) -> list[Process]:
        """Return the processes whose accounts are open, the living and the dead."""
        return self._reader.processes()

    def source(self) -> Source:
        """Return what is read from."""
        return self._reader.source()


class _Made(NamedTuple):
    body: bytes
    asked_for: float
    """When it was begun: it is an answer for whoever had asked by then."""
    again_at: float


class Answers:
    """The latest answers. Whoever asks the same at the same time gets the same, and nothing older."""

    def __init__(self) -> None:
        self._made: OrderedDict[Any, _Made] = OrderedDict()
        self._size = 0

    async def get(self, question: Any, make: Callable[[], Any]) -> bytes:
        """Return what ``make`` returns, as JSON; raises what it raises."""
        asked = time.monotonic()
        known = self._made.get(question)
        if known is not None and known.again_at > asked:
            await anyio.sleep(known.again_at - asked)
        return await own_thread.run(self._get, question, make, asked)

    def _get(self, question: Any, make: Callable[[], Any], asked: float) -> bytes:
        with _one_at_a_time:
            known = self._made.get(question)
            if known is not None and known.asked_for >= asked:
                return known.body
            began, spent = time.monotonic(), time.thread_time()
            body = as_json(make())
            spent = time.thread_time() - spent
            self._keep(question, _Made(body, began, time.monotonic() + min(_LONGEST, _SHARE * spent)))
            return body

    def _keep(self, question: Any, made: _Made) -> None:
        old = self._made.pop(question, None)
        self._made[question] = made
        self._size += len(made.body) - (0 if old is None else len(old.body))
        while self._size > _MOST_BYTES or len(self._made) > _MOST_KEPT:
            _, gone = self._made.popitem(last=False)
            self._size -= len(gone.body)
