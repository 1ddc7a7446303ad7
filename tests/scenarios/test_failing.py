"""Tasks that start and fail."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from tests.support.comparison import Comparison
from tests.support.stage import Stage, named
from tests.support.story import ANY, HTTP_EXCEPTION, dropped, failed, request_error, skipped, succeeded
from tests.support.visit import get


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_task_that_fails_skips_the_ones_behind_it(comparison: Comparison, kind: str):
    """A failing task ends its batch: what is behind it is skipped, and is told because of whom."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        fails = stage.fails if kind == "async" else stage.fails_in_thread

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            tasks.add_task(fails("report"))
            tasks.add_task(stage.works("audit"))

        return app

    comparison.verify(build, get(), succeeded("mail"), failed("report"), skipped("audit"))
    assert "shop.report" in comparison.accounts.recorder.run("audit").detail
    assert "shop.report" in comparison.accounts.spans.of("audit").status.description


def test_the_span_of_a_failed_run_carries_the_exception(comparison: Comparison):
    """A failed run's span carries the exception once, with its type, message and traceback."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.fails("mail"))

        return app

    comparison.verify(build, get(), failed("mail"))
    [event] = comparison.accounts.spans.of("mail").events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "ValueError"
    assert event.attributes["exception.message"] == "boom"
    assert "in task" in event.attributes["exception.stacktrace"]


def test_a_task_that_raises_an_http_exception_fails_with_it(comparison: Comparison):
    """A task that raises an ``HTTPException`` fails with that type, whatever the server makes of it."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.fails("mail", HTTPException(404)))
            tasks.add_task(stage.works("audit"))

        return app

    comparison.verify(build, get(), failed("mail", HTTP_EXCEPTION), skipped("audit"))


def test_a_handler_for_what_a_task_raises_changes_nothing(comparison: Comparison):
    """A handler for the type of error that a task raises changes nothing about whose error it is."""

    class OutOfPaper(Exception):
        pass

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.exception_handler(OutOfPaper)
        async def handler(request: Request, exc: OutOfPaper) -> JSONResponse:
            stage.did.append("handler")
            return JSONResponse({}, status_code=503)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.fails("report", OutOfPaper()))

        return app

    comparison.verify(build, get(), failed("report", f"{__name__}.{OutOfPaper.__qualname__}"))


def lambda_returning_a_coroutine(stage: Stage):
    """Make the shortest way to a task that never runs."""
    task = stage.works("mail")
    return named("mail")(lambda *_: task())


def generator_function(stage: Stage):
    """Make a task that somebody would have to iterate."""

    @named("mail")
    def task():
        stage.did.append("mail")
        yield

    return task


def async_generator_function(stage: Stage):
    """Make a task that somebody would have to iterate asynchronously."""

    @named("mail")
    async def task():
        stage.did.append("mail")
        yield

    return task


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [lambda_returning_a_coroutine, generator_function, async_generator_function])
def test_a_task_whose_result_nobody_awaits_has_failed(comparison: Comparison, kind):
    """A function that only returns something to be awaited or iterated did nothing, and says so."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(kind(stage))

        return app

    comparison.verify(build, get(), failed("mail", ANY, "never_awaited"))
    assert comparison.accounts.recorder.run("mail").detail


def test_an_endpoint_awaits_a_task_that_fails(comparison: Comparison):
    """A task awaited by the endpoint fails its run and the request, which drops its own tasks."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            await BackgroundTask(stage.fails("report"))()

        return app

    comparison.verify(build, get(), failed("report"), dropped("mail"), request_error(500, "ValueError"))


def test_a_stream_awaits_a_task_that_fails(comparison: Comparison):
    """A task awaited inside a stream fails its run and the request, although the response has started."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def stream():
            yield "a"
            await BackgroundTask(stage.fails("report"))()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
            tasks.add_task(stage.works("mail"))
            return StreamingResponse(stream())

        return app

    comparison.verify(build, get(), failed("report"), dropped("mail"), request_error(ANY, "ValueError"))


@pytest.mark.parametrize("what", ["converts", "swallows"])
def test_a_dependency_catches_the_error_of_a_task(comparison: Comparison, what: str):
    """A task's error stays a task's error when a ``yield`` dependency converts or swallows it."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def dependency():
            try:
                yield
            except ValueError as exc:
                if what == "converts":
                    raise KeyError("converted") from exc

        @app.get("/", dependencies=[Depends(dependency)])
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.fails("mail"))
            tasks.add_task(stage.works("audit"))

        return app

    comparison.verify(build, get(), failed("mail"), skipped("audit"))


def test_a_generator_that_is_not_the_tasks_own_is_no_failure(comparison: Comparison):
    """A function that returns somebody else's generator has done its work, as ``Executor.map`` has."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        pool = ThreadPoolExecutor(1)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(pool.map, stage.did.append, ["first", "second"])

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("first", "second")

    comparison.verify(build, drive, succeeded("map"))


def test_an_exception_group_of_one_is_told_as_the_error_inside(comparison: Comparison):
    """An error that a task group has wrapped is reported as what it is."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            async with asyncio.TaskGroup() as group:
                group.create_task(stage.fails("report")())

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(500, "ValueError"))
