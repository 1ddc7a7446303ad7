"""What a task returns although somebody would have to await it: nobody does."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest
from fastapi import BackgroundTasks

from tests.support.asgi import ask
from tests.support.in_process import InProcessStage

pytestmark = pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


class Query:
    """Runs when it is awaited, as those of Tortoise and of GINO do."""

    def __await__(self) -> Generator[Any, None, None]:
        raise AssertionError("nobody awaits it")
        yield


class Fetch(Query, Coroutine[Any, Any, None]):
    """Looks like a coroutine, as requests of aiohttp and compiled coroutines do."""

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        raise StopIteration

    def close(self) -> None: ...


class Deferred:
    """Goes on by itself, as those of Twisted do; awaiting it is only a way to wait."""

    def addCallbacks(self, *callbacks: Any) -> None: ...

    def __await__(self) -> Generator[Any, None, None]:
        yield


@types.coroutine
def old_style() -> Iterator[None]:
    """Be a coroutine as they were before ``async def``."""
    yield


async def stream() -> AsyncIterator[int]:
    """Be iterated asynchronously."""
    yield 1


UNRUN = [Query, Fetch, old_style, lambda: stream().__anext__(), lambda: stream().aclose()]
KINDS = ["awaitable", "coroutine-like", "types.coroutine", "anext", "aclose"]


@pytest.mark.parametrize("make", UNRUN, ids=KINDS)
def test_an_awaitable_that_nobody_awaits(stage: InProcessStage, make: Callable[[], Any]):
    """A function that only returns something to be awaited, of whatever class, did nothing, and says so."""
    made: list[Any] = []

    def mail() -> Any:
        made.append(make())
        return made[-1]

    assert ask(stage.app_with(mail)).error is None
    [run] = stage.accounts.recorder.ended_runs
    assert (run.outcome, run.reason) == ("failed", "never_awaited")
    assert type(made[0]).__name__ in run.detail


def test_an_async_function_that_returns_what_looks_like_a_coroutine(stage: InProcessStage):
    """An async function that forgets an ``await`` before what looks like a coroutine says so."""

    async def mail() -> Any:
        return Fetch()

    ask(stage.app_with(mail))
    [run] = stage.accounts.recorder.ended_runs
    assert (run.outcome, run.reason) == ("failed", "never_awaited")


def test_an_awaitable_that_an_async_function_may_have_awaited(stage: InProcessStage):
    """An async function may return an awaitable that it has awaited, or that is a client: it has succeeded."""

    async def mail() -> Any:
        return Query()

    ask(stage.app_with(mail))
    [run] = stage.accounts.recorder.ended_runs
    assert run.outcome == "succeeded"


def test_what_goes_on_by_itself(stage: InProcessStage):
    """A function that returns a future, a task or a Twisted ``Deferred`` has begun the work: it has succeeded."""
    kept: list[Any] = []

    async def endpoint(background: BackgroundTasks) -> None:
        loop = asyncio.get_running_loop()
        kept.extend((loop.create_future(), asyncio.create_task(asyncio.sleep(0)), Deferred()))
        for place in range(3):
            background.add_task(kept.__getitem__, place)

    ask(stage.app(endpoint))
    assert [run.outcome for run in stage.accounts.recorder.ended_runs] == ["succeeded"] * 3


def test_a_value_that_raises_when_it_is_asked_what_it_is(stage: InProcessStage):
    """A returned object that lies about its class, or raises, does not disturb the task."""

    class Strange:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("do not ask")

    def mail() -> Any:
        return Strange()

    assert ask(stage.app_with(mail)).error is None
    [run] = stage.accounts.recorder.ended_runs
    assert run.outcome == "succeeded"
