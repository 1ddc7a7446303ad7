"""Middleware of the user's that catches, times out, retries or comes at an unusual time."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import JSONResponse

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import ANY, HTTP_EXCEPTION, dropped, request_error, succeeded
from tests.support.visit import get


class CatchAll:
    """Answers for every error that comes out of the application."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as exc:
            await JSONResponse({"caught": type(exc).__name__}, 503)(scope, receive, send)


class TimeLimit:
    """Cancels what takes too long and answers for it."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        limit = 0.1 if scope["type"] == "http" else None
        try:
            async with asyncio.timeout(limit):
                await self.app(scope, receive, send)
        except TimeoutError:
            await JSONResponse({}, 504)(scope, receive, send)


class Retry:
    """Tries a second time."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        try:
            await self.app(dict(scope), receive, send)
        except ValueError:
            await self.app(scope, receive, send)


def test_a_middleware_answers_for_the_error(comparison: Comparison):
    """A catch-all middleware hides the error from the server, not from the account."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(CatchAll)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            raise ValueError("boom")

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(503, "ValueError"))


def test_a_middleware_that_cancels_the_endpoint_drops_the_task(comparison: Comparison):
    """A time limit that cancels the endpoint drops the tasks; the status that was sent is reported."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(TimeLimit)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            await asyncio.Event().wait()

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(504, ANY))


def test_a_retry_drops_the_task_of_the_first_attempt(comparison: Comparison):
    """A retrying middleware drops the first attempt's tasks; the second's run, and the request succeeds."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(Retry)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            stage.did.append("attempt")
            if stage.did.count("attempt") == 1:
                tasks.add_task(stage.works("mail"))
                raise ValueError("boom")
            tasks.add_task(stage.works("report"))

        return app

    comparison.verify(build, get(), dropped("mail"), succeeded("report"))


def add_failing_route(app: FastAPI, stage: Stage) -> None:
    """Add an endpoint that schedules a task and fails."""

    @app.get("/x")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise HTTPException(404)


def add_counted_middleware(app: FastAPI, stage: Stage) -> None:
    """Add a middleware that notes how often it is constructed."""

    class Counted:
        def __init__(self, app) -> None:
            self.app = app
            stage.did.append("constructed")

        async def __call__(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)

    app.add_middleware(Counted)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sub_application_is_watched_mounted_before_or_after(comparison: Comparison, when: str):
    """A sub-application is accounted for whether it was mounted before or after ``instrument``."""

    def build(stage: Stage) -> FastAPI:
        app, sub = stage.fastapi(), FastAPI()
        add_failing_route(sub, stage)
        add_counted_middleware(app, stage)
        add_counted_middleware(sub, stage)
        if when == "before":
            app.mount("/sub", sub)
        stage.instrument(app)
        if when == "after":
            app.mount("/sub", sub)
        return app

    comparison.verify(build, get("/sub/x"), dropped("mail"), request_error(404, HTTP_EXCEPTION, "/sub/x"))
    assert_constructed_as_bare(comparison)


@pytest.mark.parametrize("when", ["startup", "first request"])
def test_an_application_can_be_instrumented_while_serving(comparison: Comparison, when: str):
    """An application whose middleware is already built can be instrumented, without building it again."""

    def build(stage: Stage) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI):
            if when == "startup":
                stage.instrument(app)
            yield

        app = stage.fastapi(lifespan=lifespan)
        add_failing_route(app, stage)
        add_counted_middleware(app, stage)
        stage.app = app
        if when == "first request":
            stage.instrumented.append(app)  # not yet
        return app

    def drive(visit) -> None:
        if when == "first request":
            visit.get("/unknown")
            visit.stage.instrument(visit.stage.app)
        visit.get("/x")

    comparison.verify(build, drive, dropped("mail"), request_error(404, HTTP_EXCEPTION, "/x"))
    assert_constructed_as_bare(comparison)


def assert_constructed_as_bare(comparison: Comparison) -> None:
    """``verify`` has compared the deeds; without them the comparison would be of nothing."""
    assert comparison.bare.did.count("constructed") >= 1


def test_an_error_in_a_middleware_fails_the_request(comparison: Comparison):
    """A middleware that fails after the endpoint does not take back what the endpoint's tasks did."""

    class Failing:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                raise ValueError("boom")

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        app.add_middleware(Failing)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        return app

    comparison.verify(build, get(), succeeded("mail"), request_error(ANY, "ValueError"))
    assert comparison.bare.did == ["mail"]


def test_a_middleware_that_fails_before_it_passes_the_answer_on(comparison: Comparison):
    """A middleware that fails with the answer in its hands fails the request, although the endpoint was well."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.middleware("http")
        async def fail(request, call_next):
            await call_next(request)
            raise ValueError("boom")

        @app.get("/")
        async def endpoint() -> None:
            stage.did.append("endpoint")

        return app

    comparison.verify(build, get(), request_error(500, "ValueError"))
