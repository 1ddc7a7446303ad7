"""Applications that are not instrumented, beside and inside of one that is."""

import asyncio
import functools
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.story import succeeded


def test_an_application_that_is_not_instrumented_has_no_account(stage: InProcessStage):
    """Beside an instrumented application another one works as ever, and nothing of it is told."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("foreign"))
        background.add_task(stage.works_in_thread("foreign thread"))

    app = stage.app_with(stage.works("mail"))
    foreign = stage.fastapi()
    foreign.get("/")(endpoint)
    ask(foreign)
    ask(app)
    assert stage.did == ["foreign", "foreign thread", "mail"]
    stage.assert_story(succeeded("mail"))


def test_a_foreign_application_called_inside_a_request_joins_nothing(stage: InProcessStage):
    """An application that a request calls in this process, as a client would, is not part of that request."""

    async def inside(background: BackgroundTasks) -> dict:
        background.add_task(stage.works("foreign"))
        return {}

    foreign = stage.fastapi()
    foreign.get("/inside")(inside)

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        transport = httpx.ASGITransport(foreign)
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
            assert (await client.get("/inside")).status_code == 200
        background.add_task(stage.works("audit"))

    ask(stage.app(endpoint))
    assert stage.did == ["foreign", "mail", "audit"]
    stage.assert_story(succeeded("mail"), succeeded("audit"))


def test_a_foreign_error_inside_a_request_is_its_own(stage: InProcessStage):
    """An error of an application called inside a request is no error of that request."""

    async def inside() -> None:
        raise KeyError("inside")

    foreign = stage.fastapi()
    foreign.get("/inside")(inside)

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        assert type((await call(foreign, "/inside")).error) is KeyError

    assert ask(stage.app(endpoint)).status == 200
    stage.assert_story(succeeded("mail"))


@pytest.mark.parametrize("attached", [True, False], ids=["attached", "forgotten"])
def test_a_task_made_in_a_thread_without_context(stage: InProcessStage, attached: bool):
    """A task made in an executor, whose thread knows of no request, has a run when it is called, and only then."""

    async def endpoint() -> JSONResponse:
        make = functools.partial(BackgroundTask, stage.works("mail"))
        task: Any = await asyncio.get_running_loop().run_in_executor(None, make)
        return JSONResponse({}, background=task if attached else None)

    ask(stage.app(endpoint))
    assert stage.did == ["mail"] * attached
    stage.assert_story(*[succeeded("mail")] * attached)


def test_a_task_outside_of_any_request(stage: InProcessStage):
    """A task that is made and called outside of any request has no run, and runs as ever."""

    async def call_it() -> None:
        await BackgroundTask(stage.works("warm up"))()

    app = stage.app_with(stage.works("mail"))
    asyncio.run(call_it())
    ask(app)
    assert stage.did == ["warm up", "mail"]
    stage.assert_story(succeeded("mail"))
