"""Waiting for what comes in its own time, without sleeping longer than needed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import anyio

SECONDS = 25.0
"""How long a test waits before it fails; a machine may be busy."""
_SHORTEST, _LONGEST = 0.005, 0.1


def wait_until(
    condition: Callable[[], object],
    seconds: float = SECONDS,
    why: Callable[[], object] = lambda: "it took too long",
) -> None:
    """Ask until the condition holds, less and less often; fail after so many seconds with what ``why`` returns."""
    end, pause = time.monotonic() + seconds, _SHORTEST
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST)


def eventually(check: Callable[[], None], seconds: float = SECONDS) -> None:
    """Repeat assertions until they hold; the last failure is the caller's."""

    def holds() -> bool:
        try:
            check()
        except AssertionError:
            return False
        return True

    with contextlib.suppress(AssertionError):
        wait_until(holds, seconds)
        return
    check()


async def wait_until_async(condition: Callable[[], object]) -> None:
    """Ask until the condition holds, on asyncio or trio; the deadline is the caller's."""
    while not condition():  # noqa: ASYNC110  what is waited for happens in other threads, too
        await anyio.sleep(_SHORTEST)
