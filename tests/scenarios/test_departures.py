"""Clients that leave and servers that shut down while something is going on."""

import asyncio
import threading

import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect, Request

from tests.support.comparison import Comparison
from tests.support.stage import Stage, named
from tests.support.story import cancelled, dropped, skipped, succeeded


def test_a_task_goes_on_when_its_client_leaves(comparison: Comparison):
    """A task goes on when its client has hung up."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.left = left = asyncio.Event()

        @named("mail")
        async def mail() -> None:
            stage.did.append("mail begins")
            await left.wait()
            stage.did.append("mail")

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(mail)

        return app

    def drive(visit) -> None:
        with visit.raw() as connection:
            visit.seen.append(b"200 OK" in connection.recv(65536))
            visit.wait_for("mail begins")
        visit.server.call(visit.stage.left.set)
        visit.wait_for("mail")

    comparison.verify(build, drive, succeeded("mail"))


def test_a_task_runs_when_the_client_leaves_in_mid_stream(comparison: Comparison):
    """A stream's task runs although nobody has read the stream to its end."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.left = left = asyncio.Event()

        async def stream():
            yield b"begin" * 100
            await left.wait()
            for _ in range(5):
                yield b"x" * 100_000
                await asyncio.sleep(0)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
            tasks.add_task(stage.works("mail"))
            return StreamingResponse(stream())

        return app

    def drive(visit) -> None:
        with visit.raw() as connection:
            visit.seen.append(b"200 OK" in connection.recv(100))
        visit.server.call(visit.stage.left.set)
        visit.wait_for("mail")

    comparison.verify(build, drive, succeeded("mail"))


def test_shutdown_cancels_a_running_task(comparison: Comparison):
    """A server that shuts down cancels a running task and never runs the ones behind it."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @named("mail")
        async def mail() -> None:
            stage.did.append("mail begins")
            try:
                await asyncio.Event().wait()
            finally:
                stage.did.append("mail is cancelled")

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(mail)
            tasks.add_task(stage.works("audit"))

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("mail begins")
        visit.server.stop()

    comparison.verify(build, drive, cancelled("mail"), skipped("audit", "earlier_task_cancelled"), grace=0.2)
    detail = comparison.accounts.recorder.run("audit").detail
    assert "shop.mail was cancelled" in detail
    assert "grace period" in detail
    assert "catch" not in detail


def test_shutdown_while_a_thread_runs_on(comparison: Comparison):
    """A sync task's thread outlives the shutdown; for the account the task is cancelled."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.release = threading.Event()

        @named("report")
        def report() -> None:
            stage.did.append("report begins")
            stage.release.wait(10)
            stage.did.append("report")

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(report)
            tasks.add_task(stage.works("audit"))

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("report begins")
        visit.server.stop()
        visit.seen.append(list(visit.stage.did))
        visit.stage.release.set()
        visit.wait_for("report")

    comparison.verify(build, drive, cancelled("report"), skipped("audit", "earlier_task_cancelled"), grace=0.2)


@pytest.mark.parametrize("notices", ["receiving", "sending"])
def test_a_websocket_that_disconnects_is_no_error(comparison: Comparison, notices: str):
    """A WebSocket's client that leaves is nobody's error; the tasks are dropped for that reason."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.websocket("/ws")
        async def endpoint(websocket: WebSocket, tasks: BackgroundTasks) -> None:
            await websocket.accept()
            tasks.add_task(stage.works("mail"))
            await websocket.send_text("hello")
            try:
                while True:
                    if notices == "receiving":
                        await websocket.receive_text()
                    else:
                        await websocket.send_text("are you there?")
                        await asyncio.sleep(0.01)
            finally:
                stage.did.append("gone")

        return app

    def drive(visit) -> None:
        with visit.websocket() as connection:
            visit.seen.append(connection.recv())
        visit.wait_for("gone")

    comparison.verify(build, drive, dropped("mail", "client_disconnected"))


def test_a_client_that_vanished_is_no_error(comparison: Comparison):
    """A request whose client vanished before the answer, and which notices, is no failed request."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            stage.did.append("waiting")
            while (await request.receive())["type"] != "http.disconnect":
                pass
            stage.did.append("gone")
            raise ClientDisconnect

        return app

    def drive(visit) -> None:
        with visit.raw():
            visit.wait_for("waiting")
        visit.wait_for("gone")

    comparison.verify(build, drive, dropped("mail", "client_disconnected"))
