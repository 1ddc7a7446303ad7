"""What an exception means for its request: whose client left, who was cancelled, what a middleware made of it."""

import asyncio
import contextlib
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi import WebSocketException as Refusal
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from websockets.exceptions import InvalidStatus, WebSocketException

import afterword
from tests.scenarios.test_interference import TimeLimit
from tests.support.comparison import Build, Comparison
from tests.support.stage import Stage, named
from tests.support.story import ANY, dropped, failed, request_error, skipped, succeeded
from tests.support.visit import Visit, get

STRAY = "asyncio.exceptions.CancelledError"


async def await_what_was_cancelled() -> None:
    """Raise a ``CancelledError`` although nobody cancels the caller."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


def test_a_websocket_disconnect_inside_an_http_request(comparison: Comparison):
    """A peer that vanished while a request told it something is an error of that request: its client is there."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def broadcast(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            raise WebSocketDisconnect(1006)

        return app

    error = request_error(500, "starlette.websockets.WebSocketDisconnect")
    comparison.verify(build, get(), dropped("mail"), error)


def test_a_client_disconnect_inside_a_websocket(comparison: Comparison):
    """The client of some HTTP request that left is an error of the WebSocket that trips over it."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.websocket("/ws")
        async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
            await websocket.accept()
            tasks.add_task(stage.works("mail"))
            stage.did.append("accepted")
            raise ClientDisconnect

        return app

    def drive(visit) -> None:
        with contextlib.suppress(WebSocketException), visit.websocket() as connection:
            connection.recv()
        visit.wait_for("accepted")

    error = request_error("", "starlette.requests.ClientDisconnect", "/ws", "")
    comparison.verify(build, drive, dropped("mail"), error)


@pytest.mark.parametrize("middleware", [False, True], ids=["", "middleware"])
def test_a_cancelled_error_that_nobody_asked_for(comparison: Comparison, middleware: bool):
    """It is answered with 500, so the request has failed as by any error, also where a middleware hides it."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            await await_what_was_cancelled()

        if middleware:

            @app.middleware("http")
            async def through(request: Request, call_next):
                return await call_next(request)

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(500, STRAY))
    assert STRAY in comparison.accounts.recorder.run("mail").detail
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "error"


def test_a_task_raises_a_cancelled_error_that_nobody_asked_for(comparison: Comparison):
    """A task that nobody cancels has failed, whatever it raises."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(named("mail")(await_what_was_cancelled))
            tasks.add_task(stage.works("audit"))

        return app

    comparison.verify(build, get(), failed("mail", STRAY), skipped("audit"))


def waiting(**options: Any) -> Build:
    """Build an application whose endpoint schedules a task with these options, and waits."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        mail = afterword.task(**options)(stage.works("mail"))

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(mail)
            stage.did.append("waiting")
            await asyncio.Event().wait()

        return app

    return build


def stop_while_it_waits(visit: Visit) -> None:
    """Shut the server down while the endpoint waits."""
    with visit.raw():
        visit.wait_for("waiting")
        visit.server.stop()


def test_a_shutdown_cancels_an_endpoint(comparison: Comparison):
    """A request that the server cancels has not failed; its tasks are dropped all the same."""
    comparison.verify(waiting(), stop_while_it_waits, dropped("mail"), grace=0.2)
    assert "grace period" in comparison.accounts.recorder.run("mail").detail


def test_what_was_cancelled_within_leaves_as_an_error(comparison: Comparison):
    """A middleware that cancels the application and lets that out has made an error of it: nobody cancels *it*."""

    class Impatient:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return
            running = asyncio.create_task(self.app(scope, receive, send))
            await asyncio.wait([running], timeout=0.1)
            running.cancel()
            await running

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(Impatient)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            await asyncio.Event().wait()

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(500, STRAY))


def test_a_timeout_that_nobody_answers(comparison: Comparison):
    """An endpoint cancelled by a time limit further out is told by the error that came of it."""

    class Limit:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            async with asyncio.timeout(0.1 if scope["type"] == "http" else None):
                await self.app(scope, receive, send)

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(Limit)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            await asyncio.Event().wait()

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(500, "TimeoutError"))


@pytest.mark.parametrize("why", ["timeout", "stray"])
def test_tasks_are_rescued_from_a_cancelled_request(comparison: Comparison, why: str):
    """A time limit's 504, or the 500 for a stray cancellation, rescues tasks and calls ``on_request_error``."""

    @named("tell")
    async def tell(request, exc) -> None:
        pass

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(TimeLimit)
        rescued = afterword.task(run_on_request_error=True)(stage.works("audit"))

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            tasks.add_task(rescued)
            await (asyncio.Event().wait() if why == "timeout" else await_what_was_cancelled())

        return app

    stage = comparison.stage()
    app = build(stage)
    stage.instrument(app, on_request_error=[tell])
    with stage.serve(app) as server:
        visit = Visit(server, stage)
        get()(visit)
        visit.close()
    error = request_error(504 if why == "timeout" else 500, ANY)
    comparison.expect(dropped("mail"), succeeded("audit"), succeeded("tell"), error)


def test_a_shutdown_rescues_nothing(comparison: Comparison):
    """A task that runs on request errors is dropped where the server cancels the request: there is no answer."""
    build = waiting(run_on_request_error=True)
    comparison.verify(build, stop_while_it_waits, dropped("mail"), grace=0.2)


@pytest.mark.parametrize("why", ["validation", "exception", "http exception"])
def test_a_websocket_that_is_refused_is_the_clients_error(comparison: Comparison, why: str):
    """Each way to refuse a handshake is a 403 to the client, and a warning where it dropped a task."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def dependency(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        @app.websocket("/ws", dependencies=[Depends(dependency)])
        async def endpoint(websocket: WebSocket, number: int = 0) -> None:
            raise HTTPException(403) if why == "http exception" else Refusal(1008)

        return app

    def drive(visit) -> None:
        path = "/ws?number=seven" if why == "validation" else "/ws"
        with pytest.raises(InvalidStatus) as refused, visit.websocket(path):
            pass
        visit.seen.append(refused.value.response.status_code)

    comparison.verify(build, drive, dropped("mail"), request_error(403, ANY, "/ws", ""))
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "warning"


def test_a_task_behind_a_denied_websocket_fails(comparison: Comparison):
    """A task behind the response that denies a WebSocket fails by itself, and fails no request."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.websocket("/ws")
        async def endpoint(websocket: WebSocket) -> None:
            response = JSONResponse({}, 403, background=BackgroundTask(stage.fails("mail")))
            await websocket.send_denial_response(response)

        return app

    def drive(visit) -> None:
        with pytest.raises(InvalidStatus), visit.websocket():
            pass
        visit.wait_for("mail fails")

    comparison.verify(build, drive, failed("mail"))
