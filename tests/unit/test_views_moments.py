"""When a request began and was answered, as its runs' lines have it: what a timeline shows of it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware

from afterword._ledger.recent import RecentRuns
from afterword._views import requests, runs
from afterword._views.reader import RecentReader
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage


@pytest.fixture
def recent() -> RecentRuns:
    """Provide what keeps the runs of an application."""
    return RecentRuns()


async def pass_time() -> None:
    """Take a little time."""
    await asyncio.sleep(0.002)


def at(moment: str) -> float:
    """Return a point in time."""
    return datetime.fromisoformat(moment).timestamp()


def told(recent: RecentRuns) -> list[dict[str, Any]]:
    """Return the requests, the first one first."""
    return list(reversed(requests.view(RecentReader(recent))["requests"]))


def in_order(request: dict[str, Any]) -> bool:
    """Whether it began before it scheduled, and was answered before its first task ran."""
    first_start = min(run["started_at"] for run in request["runs"])
    moments = [request["began_at"], request["first_at"], request["answered_at"], first_start, request["last_at"]]
    return moments == sorted(moments)


@pytest.mark.parametrize("around", [False, True], ids=["plain", "middleware"])
def test_a_request_has_its_moments(around: bool, stage: InProcessStage, recent: RecentRuns):
    """It began before it scheduled its first task, and was answered before that ran, middleware or not."""
    app = stage.fastapi()

    async def between(request: Request, call_next: Any) -> Any:
        await pass_time()
        return await call_next(request)

    if around:
        app.add_middleware(BaseHTTPMiddleware, dispatch=between)

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        await pass_time()
        background.add_task(pass_time)
        background.add_task(pass_time)
        await pass_time()

    stage.instrument(app, observers=[recent])
    for _ in range(2):
        assert ask(app).status == 200
    first, second = told(recent)
    for request in (first, second):
        assert len(request["runs"]) == 2
        assert in_order(request)
        assert at(request["first_at"]) - at(request["began_at"]) >= 0.002
        assert at(request["answered_at"]) - at(request["first_at"]) >= 0.002
        assert "answered_at_derived" not in request
    assert first["last_at"] <= second["began_at"]


def test_a_stream_is_answered_when_its_last_part_is_sent(stage: InProcessStage, recent: RecentRuns):
    """The moment is that of the end of the response, from which on its tasks run."""
    app = stage.fastapi()

    async def parts() -> Any:
        for part in (b"a", b"b"):
            await pass_time()
            yield part

    @app.get("/")
    async def endpoint() -> StreamingResponse:
        return StreamingResponse(parts(), background=BackgroundTask(pass_time))

    stage.instrument(app, observers=[recent])
    assert ask(app).text == "ab"
    [request] = told(recent)
    assert in_order(request)
    assert at(request["answered_at"]) - at(request["first_at"]) >= 0.004


def test_a_mounted_application_has_the_moments_of_the_request(stage: InProcessStage, recent: RecentRuns):
    """A request through a mount is one request, with one beginning."""
    inner, app = FastAPI(), stage.fastapi()

    async def early(background: BackgroundTasks) -> None:
        background.add_task(pass_time)

    @inner.get("/x", dependencies=[Depends(early)])
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(pass_time)

    app.mount("/inner", inner)
    stage.instrument(app, observers=[recent])
    assert ask(app, "/inner/x").status == 200
    [request] = told(recent)
    assert (request["http_route"], len(request["runs"])) == ("/inner/x", 2)
    assert in_order(request)


def test_a_mounted_application_of_its_own_account_began_with_the_request(
    stage: InProcessStage, recent: RecentRuns
):
    """Where both are instrumented, the request still began where it came in, before what lies around the mount."""
    inner, app = stage.fastapi(), stage.fastapi()

    async def between(request: Request, call_next: Any) -> Any:
        await pass_time()
        return await call_next(request)

    @inner.get("/x")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(pass_time)

    app.add_middleware(BaseHTTPMiddleware, dispatch=between)
    app.mount("/inner", inner)
    stage.instrument(inner, observers=[recent])
    stage.instrument(app)
    assert ask(app, "/inner/x").status == 200
    [request] = told(recent)
    assert in_order(request)
    assert at(request["first_at"]) - at(request["began_at"]) >= 0.002


def test_a_request_that_fails_has_a_beginning_alone(stage: InProcessStage, recent: RecentRuns):
    """No task has run after its response, so nothing is said of that."""
    app = stage.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(pass_time)
        raise ValueError

    stage.instrument(app, observers=[recent])
    assert isinstance(ask(app).error, ValueError)
    [request] = told(recent)
    assert request["began_at"] <= request["first_at"]
    assert "answered_at" not in request


def test_a_task_that_another_request_runs_keeps_its_own(stage: InProcessStage, recent: RecentRuns):
    """A task that is handed over belongs to the request that made it, not to the one that runs it."""
    app, kept = stage.fastapi(), []

    @app.get("/make")
    async def make() -> None:
        kept.append(BackgroundTask(pass_time))

    @app.get("/run")
    async def endpoint() -> JSONResponse:
        return JSONResponse(None, background=kept.pop())

    stage.instrument(app, observers=[recent])
    assert ask(app, "/make").status == ask(app, "/run").status == 200
    [request] = [each for each in told(recent) if each["http_route"] == "/make"]
    assert [run["outcome"] for run in request["runs"]] == ["succeeded"]
    assert request.get("answered_at_derived") is True


def test_the_others_of_a_request_are_known_without_trace_and_id(stage: InProcessStage, recent: RecentRuns):
    """When a request began tells its runs from those of the next one to the same route."""
    app = stage.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(pass_time)
        background.add_task(asyncio.sleep, 0)

    stage.instrument(app, observers=[recent], traces=False)
    for _ in range(3):
        ask(app)
    for request in told(recent):
        first, second = (run["task_run"] for run in request["runs"])
        answer = runs.one(RecentReader(recent), first)
        assert answer is not None
        assert [other["task_run"] for other in answer["others"]] == [second]
