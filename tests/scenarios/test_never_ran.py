"""Tasks that nothing will ever call, although no request failed."""

import gc
from collections.abc import AsyncIterator

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from httpx import ASGITransport, AsyncClient
from starlette.background import BackgroundTask

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import HTTP_EXCEPTION, abandoned, dropped, request_error, succeeded
from tests.support.versions import EXITS_AFTER_RESPONSE
from tests.support.visit import get


def forgetful(stage: Stage) -> FastAPI:
    """Build an application that schedules a task where no response will carry it."""
    app = stage.fastapi()

    @app.get("/")
    async def endpoint() -> None:
        tasks = BackgroundTasks()
        tasks.add_task(stage.works("mail"))

    return app


def test_a_batch_made_by_hand_and_never_attached_is_abandoned(comparison: Comparison):
    """Tasks on a ``BackgroundTasks()`` of one's own that no response carries are abandoned."""
    comparison.verify(forgetful, get(), abandoned("mail", "never_attached"))
    assert comparison.accounts.recorder.run("mail").detail
    [line] = comparison.accounts.lines.named("background_task.abandoned")
    assert (line["http_method"], line["http_route"]) == ("GET", "/")


def test_a_single_task_never_attached_is_abandoned(comparison: Comparison):
    """A ``BackgroundTask`` that is made and forgotten is abandoned."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        def endpoint() -> None:
            BackgroundTask(stage.works_in_thread("mail"))

        return app

    comparison.verify(build, get(), abandoned("mail", "never_attached"))


def test_a_response_with_its_own_background_replaces_the_injected_tasks(comparison: Comparison):
    """A returned response with a background of its own replaces the injected tasks, which is said."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> JSONResponse:
            tasks.add_task(stage.works("mail"))
            return JSONResponse({}, background=BackgroundTask(stage.works("report")))

        return app

    comparison.verify(build, get(), succeeded("report"), abandoned("mail", "response_replaced"))
    assert comparison.accounts.recorder.run("mail").detail


def test_a_slow_response_with_its_own_background_replaces_them_too(comparison: Comparison):
    """What a response replaces is told apart also when the task object is found dead while it is being sent."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/other")
        async def other() -> None:
            """End a request, which is when the dead are looked at."""

        async def body() -> AsyncIterator[bytes]:
            yield b"first"
            gc.collect()
            async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
                await client.get("/other")
            yield b"last"

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
            tasks.add_task(stage.works("mail"))
            return StreamingResponse(body(), background=BackgroundTask(stage.works("report")))

        return app

    comparison.verify(build, get(), succeeded("report"), abandoned("mail", "response_replaced"))


def test_a_background_set_on_the_injected_response_is_abandoned(comparison: Comparison):
    """A background set on the injected ``Response`` is never called."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(response: Response) -> None:
            response.background = BackgroundTask(stage.works("mail"))

        return app

    comparison.verify(build, get(), abandoned("mail", "never_attached"))


@pytest.mark.parametrize("request_fails", [False, True], ids=["answered", "failed"])
def test_a_task_added_in_the_exit_of_a_dependency(comparison: Comparison, request_fails: bool):
    """A task added in a ``yield`` dependency's exit runs only where the exit comes before the response."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def dependency(tasks: BackgroundTasks):
            try:
                yield
            finally:
                tasks.add_task(stage.works("audit"))

        @app.get("/", dependencies=[Depends(dependency)])
        async def endpoint() -> None:
            if request_fails:
                raise HTTPException(404)

        return app

    if request_fails:
        expected = [dropped("audit"), request_error(404, HTTP_EXCEPTION)]
    elif EXITS_AFTER_RESPONSE:
        expected = [abandoned("audit", "added_too_late")]
    else:
        expected = [succeeded("audit")]
    comparison.verify(build, get(), *expected)


@pytest.mark.parametrize("fails", [False, True], ids=["", "failing"])
def test_a_task_that_is_taken_out_of_its_batch_is_abandoned(comparison: Comparison, fails: bool):
    """A task that the endpoint removes again is abandoned because of that, whether or not the request fails."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            tasks.tasks.clear()
            tasks.add_task(stage.works("audit"))
            if fails:
                raise ValueError("boom")

        return app

    rest = [dropped("audit"), request_error(500, "ValueError")] if fails else [succeeded("audit")]
    comparison.verify(build, get(), abandoned("mail", "removed"), *rest)


def test_tasks_injected_into_a_websocket_endpoint_are_abandoned(comparison: Comparison):
    """Tasks injected into a WebSocket endpoint never run, since no response carries them."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.websocket("/ws")
        async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
            await websocket.accept()
            tasks.add_task(stage.works("mail"))
            await websocket.send_text("hello")
            await websocket.close()

        return app

    def drive(visit) -> None:
        with visit.websocket() as connection:
            visit.seen.append(connection.recv())

    comparison.verify(build, drive, abandoned("mail", "websocket"))


def test_an_error_swallowed_by_a_custom_route_abandons_the_task(comparison: Comparison):
    """Where a custom route swallows the error, the task is abandoned, for a reason nobody can know."""

    class Forgiving(APIRoute):
        def get_route_handler(self):
            handler = super().get_route_handler()

            async def forgiving(request: Request) -> Response:
                try:
                    return await handler(request)
                except ValueError:
                    return JSONResponse({"forgiven": True})

            return forgiving

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.router.route_class = Forgiving

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            raise ValueError("boom")

        return app

    comparison.verify(build, get(), abandoned("mail", "unknown"))


def test_an_abandoned_task_is_reported_while_the_application_is_idle(comparison: Comparison):
    """An abandoned task is reported within seconds, without another request and without a scrape."""
    comparison.verify(forgetful, get(), abandoned("mail"))  # no account is scraped before the observer was told
    run = comparison.accounts.recorder.run("mail")
    assert run.ended_at - run.scheduled_at < 5
