"""Tasks whose request is over or has failed, and that somebody calls all the same: none is given up too early."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask

from afterword import task
from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import HTTP_EXCEPTION, RequestError, abandoned, dropped, request_error, succeeded
from tests.support.visit import get
from tests.support.waiting import wait_until

TIMEOUT = 0.05
SLOW = 0.3


def error(unhandled: bool) -> Exception:
    """Make an error that a handler answers, or one that nobody does."""
    return ValueError("boom") if unhandled else HTTPException(404)


def told(unhandled: bool, status: int | None = None) -> RequestError:
    """Expect what is told of it."""
    if unhandled:
        return request_error(status or 500, "ValueError")
    return request_error(status or 404, HTTP_EXCEPTION)


class Detaching(APIRoute):
    """Lets the response's tasks run by themselves, so that the client's connection is free at once."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:
        handler = super().get_route_handler()

        async def detach(request: Request) -> Response:
            response = await handler(request)
            background, response.background = response.background, None
            if background is not None:
                request.app.state.detached.append(asyncio.create_task(background()))
            return response

        return detach


class Timeout:
    """Answers 504 when an endpoint is slow, or raises, and lets the endpoint come to its end."""

    def __init__(self, app: Any, *, raises: type[Exception] | None = None) -> None:
        self.app = app
        self.raises = raises

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        late = False

        async def send_in_time(message: Any) -> None:
            if not late:
                await send(message)

        inside = asyncio.create_task(self.app(scope, receive, send_in_time))
        scope["app"].state.detached.append(inside)
        await asyncio.wait({inside}, timeout=TIMEOUT)
        late = True
        asyncio.get_running_loop().call_later(SLOW, scope["app"].state.answered.set)
        if self.raises is not None:
            raise self.raises
        await JSONResponse({"slow": True}, 504)(scope, receive, send)


def detaching_app(stage: Stage) -> FastAPI:
    """Build an application that keeps what it has let go, and waits for it at its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI):
        yield
        await asyncio.gather(*app.state.detached, return_exceptions=True)

    app = stage.fastapi(lifespan=lifespan)
    app.state.detached = []
    app.state.answered = asyncio.Event()
    return app


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
def test_a_custom_route_lets_the_tasks_run_by_themselves(comparison: Comparison, fails: bool):
    """Injected tasks that a custom route takes from the response and runs by itself are told once, as they end.

    That the request then fails in a middleware does not change it.
    """

    def build(stage: Stage) -> FastAPI:
        app = detaching_app(stage)
        app.router.route_class = Detaching

        @app.middleware("http")
        async def fail(request: Request, call_next: Any) -> Response:
            response = await call_next(request)
            if fails:
                raise ValueError("boom")
            return response

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            async def mail() -> None:
                await asyncio.sleep(SLOW)
                await works()

            works = stage.works("mail")
            mail.__module__, mail.__qualname__ = "shop", "mail"
            tasks.add_task(mail)
            tasks.add_task(stage.works("audit"))

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("mail", "audit")

    error = [request_error(500, "ValueError")] if fails else []
    comparison.verify(build, drive, succeeded("mail"), succeeded("audit"), *error)


def test_an_endpoint_runs_its_tasks_and_fails(comparison: Comparison):
    """Injected tasks that an endpoint runs by itself are told once, although it has failed meanwhile."""

    def build(stage: Stage) -> FastAPI:
        app = detaching_app(stage)

        @app.get("/")
        async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
            async def wait() -> None:
                await asyncio.sleep(SLOW)

            wait.__module__, wait.__qualname__ = "shop", "mail"
            tasks.add_task(wait)
            tasks.add_task(stage.works("audit"))
            request.app.state.detached.append(asyncio.create_task(tasks()))
            await asyncio.sleep(0)
            raise ValueError("boom")

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("audit")

    comparison.verify(build, drive, succeeded("mail"), succeeded("audit"), told(unhandled=True))


@pytest.mark.parametrize("raises", [None, TimeoutError], ids=["answers", "raises"])
def test_a_timeout_lets_the_endpoint_finish(comparison: Comparison, raises: type[Exception] | None):
    """What an endpoint schedules and runs after a timeout has answered, or raised, in its place is told once."""

    def build(stage: Stage) -> FastAPI:
        app = detaching_app(stage)
        app.add_middleware(Timeout, raises=raises)

        @app.get("/")
        async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("early"))
            await request.app.state.answered.wait()
            tasks.add_task(stage.works("late"))

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("early", "late")

    error = [] if raises is None else [request_error(500, "TimeoutError")]
    comparison.verify(build, drive, succeeded("early"), succeeded("late"), *error)


@pytest.mark.parametrize("unhandled", [False, True], ids=["answered", "unhandled"])
def test_an_endpoint_fails_after_a_timeout_has_answered(comparison: Comparison, unhandled: bool):
    """Tasks of an endpoint that fails after its timeout has answered are dropped, for that error."""

    def build(stage: Stage) -> FastAPI:
        app = detaching_app(stage)
        app.add_middleware(Timeout)

        @app.get("/")
        async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("early"))
            await request.app.state.answered.wait()
            tasks.add_task(stage.works("late"))
            raise error(unhandled)

        return app

    comparison.verify(build, get(), dropped("early"), dropped("late"), told(unhandled, 504))


def going_on_after_a_timeout(stage: Stage, *, fails: bool) -> FastAPI:
    """Build an application whose timeout raises, while its endpoint goes on with a task that must run."""
    app = detaching_app(stage)
    app.add_middleware(Timeout, raises=TimeoutError)
    mail = task(name="mail", run_on_request_error=True)(stage.works("mail"))

    @app.get("/")
    async def endpoint(request: Request, tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)
        await request.app.state.answered.wait()
        if fails:
            raise ValueError("boom")

    return app


def test_a_task_that_must_run_on_an_error_is_not_run_twice(comparison: Comparison):
    """``run_on_request_error`` runs no task whose endpoint goes on and runs it, although a timeout raised."""

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("mail")

    build = partial(going_on_after_a_timeout, fails=False)
    comparison.verify(build, drive, succeeded("mail"), request_error(500, "TimeoutError"))


def test_a_task_that_must_run_on_an_error_runs_when_the_endpoint_fails_late(comparison: Comparison):
    """``run_on_request_error`` runs a task whose endpoint fails after its timeout has raised."""
    stage = comparison.stage()
    app = going_on_after_a_timeout(stage, fails=True)
    comparison.instrument(app)
    with stage.serve(app) as server:
        assert httpx.get(server.url).status_code == 500
        errors = [request_error(500, "TimeoutError"), request_error(500, "ValueError")]
        comparison.expect(succeeded("mail"), *errors)


@pytest.mark.parametrize("unhandled", [False, True], ids=["answered", "unhandled"])
@pytest.mark.parametrize("kind", ["by hand", "alone"])
def test_a_worker_holds_the_tasks_of_a_failed_request(comparison: Comparison, kind: str, unhandled: bool):
    """Tasks that an endpoint hands to a worker before it fails are told once, when the worker has run them."""

    def build(stage: Stage) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI):
            async def work() -> None:
                while True:
                    found = await queue.get()
                    await asyncio.sleep(SLOW)
                    await found()
                    del found

            queue: asyncio.Queue[BackgroundTask] = asyncio.Queue()
            app.state.queue = queue
            worker = asyncio.create_task(work())
            yield
            worker.cancel()

        app = stage.fastapi(lifespan=lifespan)

        @app.get("/")
        async def endpoint(request: Request) -> None:
            mine: BackgroundTask
            if kind == "alone":
                mine = BackgroundTask(stage.works("mail"))
            else:
                mine = BackgroundTasks()
                mine.add_task(stage.works("mail"))
            request.app.state.queue.put_nowait(mine)
            raise error(unhandled)

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("mail")

    comparison.verify(build, drive, succeeded("mail"), told(unhandled))


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
def test_whoever_holds_them_lets_them_go(comparison: Comparison, fails: bool):
    """Tasks that somebody has kept and never calls are pending, and given up when they are let go."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.state.kept = []

        @app.get("/")
        async def endpoint(request: Request, tasks: BackgroundTasks) -> JSONResponse:
            mine = BackgroundTasks() if fails else tasks
            mine.add_task(stage.works("mail"))
            request.app.state.kept.append(mine)
            if fails:
                raise HTTPException(404)
            return JSONResponse({}, background=BackgroundTask(stage.works("report")))

        @app.get("/let-go")
        async def let_go(request: Request) -> None:
            request.app.state.kept.clear()

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for_quiet()
        assert "shop.mail" not in {run.name for run in comparison.accounts.recorder.ended_runs}
        visit.get("/let-go")

    if fails:
        comparison.verify(build, drive, dropped("mail"), told(unhandled=False))
        assert comparison.accounts.recorder.run("mail").error_type == HTTP_EXCEPTION
    else:
        comparison.verify(build, drive, succeeded("report"), abandoned("mail", "response_replaced"))


@pytest.mark.parametrize(
    "where", ["endpoint", "thread", "dependency", "exit", "validation", "closure", "response"]
)
@pytest.mark.parametrize("unhandled", [False, True], ids=["answered", "unhandled"])
def test_the_error_itself_holds_the_tasks(comparison: Comparison, where: str, unhandled: bool):
    """Tasks that only the exception still holds are told when the request ends, without garbage collection."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def scheduling(tasks: BackgroundTasks) -> BackgroundTasks:
            tasks.add_task(stage.works("mail"))
            if where == "dependency":
                raise error(unhandled)
            return tasks

        async def leaving(tasks: BackgroundTasks):
            tasks.add_task(stage.works("mail"))
            try:
                yield tasks
            except ValueError as caught:
                raise error(unhandled) from caught

        if where == "thread":

            @app.get("/")
            def in_thread(tasks: BackgroundTasks) -> None:
                tasks.add_task(stage.works("mail"))
                raise error(unhandled)

        elif where == "exit":

            @app.get("/")
            async def left(tasks: Annotated[Any, Depends(leaving)]) -> None:
                raise ValueError("first")

        elif where in ("dependency", "validation"):

            @app.get("/")
            async def depending(tasks: Annotated[Any, Depends(scheduling)], number: int = 0) -> None:
                raise error(unhandled)

        else:

            @app.get("/")
            async def endpoint(tasks: BackgroundTasks) -> None:
                def add() -> None:
                    mine.add_task(stage.works("mail"))

                mine = BackgroundTasks() if where == "response" else tasks
                if where == "closure":
                    add()
                else:
                    mine.add_task(stage.works("mail"))
                response = JSONResponse({}, background=mine)
                if response.status_code == 200:
                    raise error(unhandled)

        return app

    def drive(visit) -> None:
        gc.disable()
        try:
            visit.get("/?number=x" if where == "validation" else "/")
            visit.wait_for_quiet()
            if comparison.accounts.recorder.scheduled_runs:  # not where it is bare
                wait_until(lambda: bool(comparison.accounts.recorder.ended_runs))
        finally:
            gc.enable()

    if where == "validation":
        comparison.verify(
            build, drive, dropped("mail"), request_error(422, "fastapi.exceptions.RequestValidationError")
        )
    else:
        comparison.verify(build, drive, dropped("mail"), told(unhandled))
