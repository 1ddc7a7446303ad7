"""When a failed task is told to the user's own functions, seen behind a server."""

import asyncio
import contextlib

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from tests.support.comparison import Comparison
from tests.support.stage import named
from tests.support.story import failed, succeeded
from tests.support.visit import Visit


@pytest.mark.parametrize("where", ["endpoint", "stream", "beside"])
def test_an_alert_during_a_live_stream(comparison: Comparison, where: str):
    """A task that fails in a request with a live stream alerts while the stream lives, wherever it is awaited."""
    stage = comparison.stage()
    app = stage.fastapi()
    end = asyncio.Event()

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append("alert")

    async def fail() -> None:
        try:
            await BackgroundTask(stage.fails("mail"))()
        except ValueError:
            stage.did.append("caught")

    async def stream():
        yield "first"
        if where == "stream":
            await fail()
        beside = asyncio.create_task(fail()) if where == "beside" else None
        yield "second"
        await end.wait()
        if beside is not None:
            await beside

    @app.get("/")
    async def endpoint() -> StreamingResponse:
        if where == "endpoint":
            await fail()
        return StreamingResponse(stream())

    stage.instrument(app, on_task_failure=[alert])
    with stage.serve(app) as server:
        visit = Visit(server, stage)
        with visit.raw() as connection:
            visit.wait_for("alert", "caught")
            server.call(end.set)
            while b"0\r\n\r\n" not in connection.recv(65536):
                pass
        visit.close()
    comparison.expect(failed("mail"), succeeded("alert"))


def test_an_alert_before_a_stream_never_delays_its_beginning(comparison: Comparison):
    """The client has the beginning of a stream before the alert of a task that the endpoint awaited."""
    stage = comparison.stage()
    app: FastAPI = stage.fastapi()
    received = asyncio.Event()

    @named("alert")
    async def alert(run, exc) -> None:
        await received.wait()

    async def stream():
        yield "first"

    @app.get("/")
    async def endpoint() -> StreamingResponse:
        with contextlib.suppress(ValueError):
            await BackgroundTask(stage.fails("mail"))()
        return StreamingResponse(stream())

    stage.instrument(app, on_task_failure=[alert])
    with stage.serve(app) as server:
        visit = Visit(server, stage)
        with visit.raw() as connection:
            seen = b""
            while b"first" not in seen:
                seen += connection.recv(65536)
            server.call(received.set)
        visit.close()
    comparison.expect(failed("mail"), succeeded("alert"))
