"""Threads that go on repeating a test, until it is over."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def repeating(work: Callable[[threading.Event], object], threads: int = 1) -> Iterator[None]:
    """Repeat some work in threads of its own while this lasts; it may wait by the event, which says it is over."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            work(over)

    others = [threading.Thread(target=go_on) for _ in range(threads)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        over.set()
        for other in others:
            other.join()
