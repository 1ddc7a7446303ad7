"""Tasks that are scheduled as the documentation shows, and run."""

from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.routing import Route

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import dropped, request_error, succeeded
from tests.support.visit import get


@pytest.mark.parametrize("kind", ["async", "def"])
def test_both_kinds_of_task_succeed(comparison: Comparison, kind: str):
    """An async and a sync task run after the response of an async and of a plain endpoint."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        def schedule(tasks: BackgroundTasks) -> str:
            tasks.add_task(stage.works("mail"))
            tasks.add_task(stage.works_in_thread("report"), "argument")
            return "thanks"

        async def schedule_async(tasks: BackgroundTasks) -> str:
            return schedule(tasks)

        app.get("/")(schedule_async if kind == "async" else schedule)
        return app

    comparison.verify(build, get(), succeeded("mail"), succeeded("report"))
    assert comparison.accounts.recorder.run("mail").thread_wait is None
    assert comparison.accounts.recorder.run("report").thread_wait is not None


def test_tasks_run_in_order(comparison: Comparison):
    """Three tasks run one after the other and are numbered within their request."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            tasks.add_task(stage.works_in_thread("report"))
            tasks.add_task(stage.works("audit"))

        return app

    comparison.verify(build, get(), succeeded("mail"), succeeded("report"), succeeded("audit"))
    ended = [(run.name, run.index) for run in comparison.accounts.recorder.ended_runs]
    assert ended == [("shop.mail", 0), ("shop.report", 1), ("shop.audit", 2)]


def test_the_background_of_a_response_runs(comparison: Comparison):
    """Tasks on a response of one's own run, one span each, on FastAPI and on its response classes alike."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/one")
        async def one() -> JSONResponse:
            return JSONResponse({}, background=BackgroundTask(stage.works("mail")))

        @app.get("/two")
        async def two() -> JSONResponse:
            tasks = StarletteBackgroundTasks([BackgroundTask(stage.works("report"))])
            tasks.add_task(stage.works_in_thread("audit"))
            return JSONResponse({}, background=tasks)

        return app

    comparison.verify(build, get("/one", "/two"), succeeded("mail"), succeeded("report"), succeeded("audit"))


def test_a_starlette_application_has_the_same_account(comparison: Comparison):
    """An application that is Starlette's own, without FastAPI, has the same account."""

    def build(stage: Stage) -> Starlette:
        async def endpoint(request: Request) -> JSONResponse:
            return JSONResponse({}, background=BackgroundTask(stage.works("mail")))

        async def broken(request: Request) -> JSONResponse:
            raise ValueError("boom")

        return Starlette(routes=[Route("/", endpoint), Route("/broken", broken)])

    expected = succeeded("mail"), request_error(500, "ValueError", "/broken")
    comparison.verify(build, get("/", "/broken"), *expected)


@pytest.mark.parametrize("endpoint_has_tasks", [True, False], ids=["with", "without"])
def test_a_background_set_by_a_middleware_runs(comparison: Comparison, endpoint_has_tasks: bool):
    """A middleware's task on the response runs beside the endpoint's own, each once."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.middleware("http")
        async def audit(request: Request, call_next):
            response = await call_next(request)
            response.background = BackgroundTask(stage.works("audit"))
            return response

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            if endpoint_has_tasks:
                tasks.add_task(stage.works("mail"))

        return app

    expected = [succeeded("audit")] + [succeeded("mail")] * endpoint_has_tasks
    comparison.verify(build, get(), *expected, in_order=False)


def test_the_tasks_of_a_response_that_a_middleware_replaces_run(comparison: Comparison):
    """A middleware that answers with another response does not stop the original's tasks."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.middleware("http")
        async def replace(request: Request, call_next):
            response = await call_next(request)
            async for _ in response.body_iterator:
                pass
            return JSONResponse({"replaced": True})

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        return app

    comparison.verify(build, get(), succeeded("mail"))


def test_tasks_of_dependencies_share_one_batch(comparison: Comparison):
    """Dependencies, sub-dependencies and the endpoint share one batch, and all of it runs."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def sub_dependency(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("audit"))

        def dependency(tasks: BackgroundTasks, _: Annotated[None, Depends(sub_dependency)]) -> None:
            tasks.add_task(stage.works_in_thread("report"))

        @app.get("/", dependencies=[Depends(dependency)])
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        return app

    comparison.verify(build, get(), succeeded("audit"), succeeded("report"), succeeded("mail"))


@pytest.mark.parametrize("scheduling", ["own", "injected"])
def test_the_tasks_of_a_stream_run_after_it(comparison: Comparison, scheduling: str):
    """A streaming response's tasks, its own or injected ones, run after the stream."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def stream():
            for part in ("a", "b"):
                stage.did.append(part)
                yield part

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
            task = stage.works("mail")
            if scheduling == "injected":
                tasks.add_task(task)
            own = BackgroundTask(task) if scheduling == "own" else None
            return StreamingResponse(stream(), background=own)

        return app

    comparison.verify(build, get(), succeeded("mail"))


def test_a_mounted_application_is_told_once_with_the_whole_route(comparison: Comparison):
    """A mounted application's tasks and errors are reported once, with the whole route."""

    def build(stage: Stage) -> FastAPI:
        app, sub = stage.fastapi(), FastAPI()
        app.mount("/sub", sub)

        @sub.get("/{item}")
        async def endpoint(item: str, tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            if item == "broken":
                raise ValueError("boom")

        return app

    expected = succeeded("mail"), dropped("mail"), request_error(500, "ValueError", "/sub/{item}")
    comparison.verify(build, get("/sub/x", "/sub/broken"), *expected)
    routes = {run.request.route for run in comparison.accounts.recorder.ended_runs}
    assert routes == {"/sub/{item}"}
    assert {span.attributes["http.route"] for span in comparison.accounts.spans.of_runs()} == routes


def test_an_application_that_is_not_instrumented_has_no_account(comparison: Comparison):
    """Of two applications in one process, only the instrumented one has an account."""

    def build(stage: Stage) -> FastAPI:
        app, stage.other = stage.fastapi(), FastAPI()
        for each in (app, stage.other):
            each.get("/")(endpoint_of(stage))
        return app

    def endpoint_of(stage: Stage):
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            tasks.add_task(stage.works_in_thread("report"))

        return endpoint

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("mail", "report")
        with visit.elsewhere(visit.stage.other) as other:
            other.get()

    comparison.verify(build, drive, succeeded("mail"), succeeded("report"), peers_keep_some=True)
