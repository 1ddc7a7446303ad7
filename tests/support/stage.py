"""What a scenario plays on: it makes the application and its tasks, and notes what they really do."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from fastapi import FastAPI

from tests.support.server import Server

F = TypeVar("F", bound=Callable[..., Any])


def named(name: str) -> Callable[[F], F]:
    """Give a function the name of a shop's function: ``shop.mail``; names are few, as they are bounded."""

    def rename(func: F) -> F:
        func.__module__, func.__qualname__, func.__name__ = "shop", name, name
        return func

    return rename


class Odd(BaseException):
    """Neither an error nor an exit, like the outcomes of pytest and the time-outs of gevent."""


class Stage:
    """A bare stage: nothing is instrumented. ``did`` lists what tasks and endpoints did, in order."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.instrumented: list[Any] = []

    def fastapi(self, **options: Any) -> FastAPI:
        """Make an application."""
        return FastAPI(**options)

    def instrument(self, app: Any, **options: Any) -> None:
        """Instrument an application now; a scenario that does not call this is instrumented when built."""
        self.instrumented.append(app)

    @contextlib.contextmanager
    def serve(self, app: Any, *, grace: float = 10.0) -> Iterator[Server]:
        """Serve an application on a real server."""
        with Server(app, grace=grace) as server:
            yield server

    # --- tasks ------------------------------------------------------------------------------------------

    def works(self, name: str) -> Callable[..., Awaitable[None]]:
        """Make an async task that works."""

        @named(name)
        async def task(*_: Any) -> None:
            self.did.append(name)

        return task

    def works_in_thread(self, name: str) -> Callable[..., None]:
        """Make a sync task that works."""

        @named(name)
        def task(*_: Any) -> None:
            self.did.append(name)

        return task

    def fails(self, name: str, exc: Exception | None = None) -> Callable[..., Awaitable[None]]:
        """Make an async task that raises, by default a ``ValueError``."""

        @named(name)
        async def task(*_: Any) -> None:
            self.did.append(f"{name} fails")
            raise exc or ValueError("boom")

        return task

    def fails_in_thread(self, name: str) -> Callable[..., None]:
        """Make a sync task that raises a ``ValueError``."""

        @named(name)
        def task(*_: Any) -> None:
            self.did.append(f"{name} fails")
            raise ValueError("boom")

        return task
