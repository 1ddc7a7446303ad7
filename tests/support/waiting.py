"""Waiting for what arrives in its own time, without sleeping longer than needed."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

DEADLINE = 5.0


def wait_until(condition: Callable[[], bool], deadline: float = DEADLINE) -> bool:
    """Poll until the condition holds; say whether it did before the deadline."""
    end = time.monotonic() + deadline
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return met


def eventually(check: Callable[[], None], deadline: float = DEADLINE) -> None:
    """Repeat assertions until they hold; the last failure is the caller's."""

    def holds() -> bool:
        try:
            check()
        except AssertionError:
            return False
        return True

    if not wait_until(holds, deadline):
        check()


async def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds, on asyncio or trio; the deadline is the caller's."""
    while not condition():  # noqa: ASYNC110  what is waited for happens in other threads, too
        await anyio.sleep(0.005)
