"""The application of the scenarios, once with FastAPI and once with nothing but Starlette."""

# no `from __future__ import annotations`: FastAPI reads the endpoints' annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteTasks
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route

from tests.matrix import tasks as work
from tests.matrix.scenarios import HOLD


async def _parts() -> AsyncIterator[bytes]:
    for part in (b"a", b"b"):
        yield part


def _kinds() -> tuple[Any, ...]:
    return work.clean_up, functools.partial(work.send_mail), work.Till().close


async def _conflict(request: Request, exc: Exception) -> JSONResponse:
    return JSONResponse({"handled": True}, 409, background=BackgroundTask(work.write_report))


def fastapi_app(**options: Any) -> FastAPI:
    """Make the application with FastAPI; the tasks are injected where nothing else is said."""
    app = FastAPI(exception_handlers={FileExistsError: _conflict}, **options)
    add_tasks_that_run(app)
    add_tasks_that_fail(app)
    add_tasks_that_are_lost(app)
    return app


def add_tasks_that_run(app: FastAPI) -> None:
    """Add what succeeds."""
    sub, shared = FastAPI(), BackgroundTask(work.send_mail)

    @sub.get("/mail")
    @app.get("/async")
    async def one(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.send_mail)

    @app.get("/sync")
    def one_sync(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.write_report)

    @app.get("/many")
    async def many(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.send_mail)
        tasks.add_task(work.write_report)
        tasks.add_task(work.count_visit, 1, by="x")

    @app.get("/kinds")
    async def kinds(tasks: BackgroundTasks) -> None:
        for task in _kinds():
            tasks.add_task(task)

    @app.get("/object")
    async def callable_object(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.Archive())

    @app.get("/own")
    async def own() -> JSONResponse:
        return JSONResponse({}, background=BackgroundTask(work.write_report))

    @app.get("/stream")
    async def stream(tasks: BackgroundTasks) -> StreamingResponse:
        tasks.add_task(work.send_mail)
        return StreamingResponse(_parts())

    @app.get("/shared")
    async def with_shared() -> JSONResponse:
        return JSONResponse({}, background=shared)

    @app.get(HOLD)
    async def held(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.hold)
        tasks.add_task(work.write_report)

    app.mount("/sub", sub)


def add_tasks_that_fail(app: FastAPI) -> None:
    """Add what fails, with others behind it."""

    @app.get("/fails")
    async def fails(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.write_report)
        tasks.add_task(work.charge_card)
        tasks.add_task(work.send_mail)

    @app.get("/fails-in-thread")
    def fails_in_thread(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.convert_file)
        tasks.add_task(work.send_mail)

    @app.get("/own-fails")
    async def own_fails() -> JSONResponse:
        return JSONResponse({}, background=BackgroundTask(work.charge_card))


def add_tasks_that_are_lost(app: FastAPI) -> None:
    """Add what is scheduled and never runs."""

    @app.get("/teapot")
    async def teapot(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.send_mail)
        raise HTTPException(418)

    async def scheduling(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.send_mail)

    @app.get("/invalid", dependencies=[Depends(scheduling)])
    async def invalid(number: int) -> None: ...

    @app.get("/broken")
    async def broken(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.send_mail)
        tasks.add_task(work.write_report)
        raise KeyError("boom")

    @app.get("/handled")
    async def handled(tasks: BackgroundTasks) -> None:
        tasks.add_task(work.send_mail)
        raise FileExistsError("boom")

    @app.get("/replaced")
    async def replaced(tasks: BackgroundTasks) -> JSONResponse:
        tasks.add_task(work.send_mail)
        return JSONResponse({}, background=BackgroundTask(work.write_report))

    @app.get("/forgotten")
    async def forgotten() -> None:
        BackgroundTasks().add_task(work.send_mail)


def starlette_app() -> Starlette:
    """Make the application without FastAPI: every task hangs on a response."""
    shared = BackgroundTask(work.send_mail)

    def answering(path: str, *functions: Any) -> Route:
        async def endpoint(request: Request) -> JSONResponse:
            return JSONResponse({}, background=StarletteTasks([BackgroundTask(each) for each in functions]))

        return Route(path, endpoint)

    def failing(path: str, make: Callable[[], Exception], *functions: Any) -> Route:
        async def endpoint(request: Request) -> JSONResponse:
            StarletteTasks([BackgroundTask(each) for each in functions])
            raise make()

        return Route(path, endpoint)

    async def with_own(request: Request) -> JSONResponse:
        function = work.charge_card if request.url.path == "/own-fails" else work.write_report
        return JSONResponse({}, background=BackgroundTask(function))

    async def with_shared(request: Request) -> JSONResponse:
        return JSONResponse({}, background=shared)

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(_parts(), background=BackgroundTask(work.send_mail))

    async def forgotten(request: Request) -> JSONResponse:
        BackgroundTask(work.send_mail)
        return JSONResponse({})

    counting = functools.partial(work.count_visit, 1, by="x")
    routes = [
        answering("/async", work.send_mail),
        answering("/sync", work.write_report),
        answering("/many", work.send_mail, work.write_report, counting),
        answering("/kinds", *_kinds()),
        answering("/object", work.Archive()),
        Route("/own", with_own),
        Route("/own-fails", with_own),
        Route("/stream", stream),
        Route("/shared", with_shared),
        Mount("/sub", Starlette(routes=[answering("/mail", work.send_mail)])),
        answering("/fails", work.write_report, work.charge_card, work.send_mail),
        answering("/fails-in-thread", work.convert_file, work.send_mail),
        failing("/teapot", lambda: HTTPException(418), work.send_mail),
        failing("/broken", lambda: KeyError("boom"), work.send_mail, work.write_report),
        failing("/handled", lambda: FileExistsError("boom"), work.send_mail),
        Route("/forgotten", forgotten),
        answering(HOLD, work.hold, work.write_report),
    ]
    return Starlette(routes=routes, exception_handlers={FileExistsError: _conflict})
