"""Tasks that are called more than once, or in a way of their own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks
from starlette.background import BackgroundTask
from starlette.responses import Response

from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import failed, succeeded


class TriesTwice(BackgroundTask):
    """Calls its function once more if it fails."""

    async def __call__(self) -> None:
        with suppress(ValueError):
            await super().__call__()
            return
        await super().__call__()


def test_a_task_that_a_worker_calls_again(stage: InProcessStage):
    """Each call outside of any request has a run of its own, which belongs to the request that made the task."""
    kept: list[BackgroundTask] = []

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    async def work() -> None:
        task = kept.pop()
        await task()
        await task()

    ask(stage.app(endpoint))
    asyncio.run(work())
    stage.assert_story(succeeded("mail"), succeeded("mail"))
    assert [run.request.route for run in stage.accounts.recorder.ended_runs] == ["/", "/"]
    assert stage.observer_errors("afterword") is None


def test_a_task_that_calls_itself_again(stage: InProcessStage):
    """A class with a way of its own has one run each time it takes Starlette's way."""

    @named("mail")
    async def mail() -> None:
        stage.did.append("mail")
        if len(stage.did) == 1:
            raise ValueError("boom")

    async def endpoint() -> Response:
        return Response(background=TriesTwice(mail))

    assert ask(stage.app(endpoint)).error is None
    stage.assert_story(failed("mail"), succeeded("mail"))


def test_a_member_that_is_called_again_by_hand_is_no_other(stage: InProcessStage):
    """A task that a later one of its batch calls once more has a second run, whose failure stops the batch."""
    tasks_of: list[BackgroundTasks] = []

    @named("mail")
    async def mail() -> None:
        stage.did.append("mail")
        if len(stage.did) == 2:
            raise ValueError("boom")

    @named("again")
    async def again() -> None:
        await tasks_of.pop().tasks[0]()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks_of.append(tasks)
        tasks.add_task(mail)
        tasks.add_task(again)

    ask(stage.app(endpoint))
    stage.assert_story(succeeded("mail"), failed("mail"), failed("again"))


def test_a_task_without_a_function_fails_as_without_us(stage: InProcessStage):
    """A class that does not make itself as Starlette does is no task; what comes of calling it is the user's."""

    class Empty(BackgroundTask):
        def __init__(self) -> None: ...

    async def endpoint() -> Response:
        return Response(background=Empty())

    with pytest.raises(AttributeError, match="has no attribute 'is_async'") as caught:
        asyncio.run(Empty()())
    answer = ask(stage.app(endpoint))
    assert (answer.status, str(answer.error)) == (200, str(caught.value))
    assert stage.ended == []
    assert stage.observer_errors("afterword") is None
