"""A thread for work of ours: the forty that the application shares may all be held by its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class OwnThread:
    """Runs one function at a time for each event loop, in a thread that no task of the application waits for."""

    def __init__(self, name: str) -> None:
        self._limiter: RunVar[CapacityLimiter] = RunVar(name)

    async def run(self, function: Callable[[*Arguments], Result], *args: *Arguments) -> Result:
        """Return what the function returns; raises what it raises."""
        try:
            limiter = self._limiter.get()
        except LookupError:
            limiter = CapacityLimiter(1)
            self._limiter.set(limiter)
        return await anyio.to_thread.run_sync(function, *args, limiter=limiter)
