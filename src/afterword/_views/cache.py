"""Answers that are asked for again and again, by any number of open pages: each is made once in a while."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

MOST: Final = 64
_SECONDS: Final = 0.5
_TIMES: Final = 20
"""An answer is kept so many times as long as it took, so that this takes a twentieth of the time at most."""


class _Answer:
    """An answer, until when it is good enough, and the lock of whoever puts it together."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = float("-inf")
        self.value: Any = None


class Cache:
    """The last answers, by what was asked. Threads that ask the same at once wait for one of them.

    An answer is at least half a second old before it is put together anew. Errors are not kept.
    """

    def __init__(self, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()

    def get(self, asked: Hashable, make: Callable[[], Any]) -> Any:
        """Return the answer to what is asked, from ``make`` unless it is there. May block."""
        with self._lock:
            answer = self._answers.setdefault(asked, _Answer())
            self._answers.move_to_end(asked)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        with answer.lock:
            begin = self._clock()
            if begin >= answer.until:
                answer.value = make()
                end = self._clock()
                answer.until = end + max(_SECONDS, _TIMES * (end - begin))
            return answer.value
