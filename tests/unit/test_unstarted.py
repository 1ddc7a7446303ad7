"""Why a task that never began never will: when that is known, and what is said of it."""

import asyncio
from collections.abc import Iterator

from fastapi import BackgroundTasks, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from afterword._ledger import deferred
from tests.support.asgi import ask, call, http_scope
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import dropped, request_error, succeeded
from tests.unit.test_judgements import cancelled_while
from tests.unit.test_severity import knock, levels, socket_app


def detail(stage: InProcessStage, event: str = "background_task.dropped") -> str:
    """Return what was told of the one run that never ran."""
    [line] = stage.lines(event)
    return str(line["detail"])


# --- when it is known -------------------------------------------------------------------------------------------


def test_a_removed_task_is_told_before_its_request_ends(stage: InProcessStage):
    """A task that was taken out and is gone is told at once, not when a long request has ended."""
    told: list = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        tasks.tasks.clear()
        deferred.drain()
        told.extend(stage.outcomes)

    ask(stage.app(endpoint))
    assert told == [("mail", "abandoned")]


def test_a_batch_that_goes_on_beside_its_failed_request(stage: InProcessStage):
    """What an endpoint has started to run beside itself is not dropped when it fails: it is being run."""
    began, ends = asyncio.Event(), asyncio.Event()

    @named("waits")
    async def waits() -> None:
        began.set()
        await ends.wait()

    beside: list[asyncio.Task] = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(waits)
        tasks.add_task(stage.works("mail"))
        beside.append(asyncio.create_task(tasks()))
        await began.wait()
        raise LookupError("boom")

    async def scenario() -> None:
        await call(stage.app(endpoint))
        ends.set()
        await beside.pop()

    asyncio.run(scenario())
    stage.assert_story(succeeded("waits"), succeeded("mail"), request_error(500, "LookupError"))


def test_a_task_that_the_request_itself_keeps_is_dropped_with_it(stage: InProcessStage):
    """A task in `request.state` is dropped with its request: a server may keep the scope while it is idle."""

    async def endpoint(request: Request) -> None:
        request.state.job = BackgroundTask(stage.works("mail"))
        raise HTTPException(404)

    app, scope = stage.app(endpoint, logs=False), http_scope("/")
    stage.accounts.recorder.exceptions = []  # their frames would hold the task, too

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None: ...

    asyncio.run(app(scope, receive, send))
    assert stage.outcomes == [("mail", "dropped")]
    assert scope["state"]["job"].func is not None


def test_what_a_middleware_schedules_when_its_answer_is_out(stage: InProcessStage):
    """A task made between two attempts that go on behind an answer is told when it is gone, not never."""
    told: list = []

    class AnswersAndGoesOn:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            async def lose(message) -> None: ...

            async def go_on() -> None:
                await self.app(dict(scope), receive, lose)
                made.append(BackgroundTask(stage.works("mail")))
                await self.app(dict(scope), receive, lose)

            beside.append(asyncio.create_task(go_on()))
            await JSONResponse({}, 202)(scope, receive, send)

    made: list[BackgroundTask] = []
    beside: list[asyncio.Task] = []

    async def endpoint() -> None:
        if made:
            made.clear()
            deferred.drain()
            told.extend(stage.outcomes)

    async def scenario() -> None:
        app = stage.app(endpoint)
        app.add_middleware(AnswersAndGoesOn)
        await call(app)
        await beside.pop()

    asyncio.run(scenario())
    assert told == [("mail", "abandoned")]


def test_a_lost_task_that_is_told_early_has_cost_its_request_a_task(stage: InProcessStage):
    """A 4xx that cost a task is a warning, also where that task was told before the request was."""

    async def endpoint() -> None:
        BackgroundTask(stage.works("mail"))
        raise HTTPException(404)

    def answer(request, exc) -> StreamingResponse:
        def body() -> Iterator[bytes]:
            yield b"no"
            deferred.drain()
            assert stage.outcomes == [("mail", "dropped")]

        return StreamingResponse(body(), 404)

    app = stage.app(endpoint)
    app.add_exception_handler(404, answer)
    assert ask(app).error is None
    assert levels(stage) == ["warning"]


# --- what is said -----------------------------------------------------------------------------------------------


def test_a_task_whose_client_went_away_is_told_so(stage: InProcessStage):
    """The detail of a task that was dropped with its client names that, and no error of the endpoint's."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise ClientDisconnect

    ask(stage.app(endpoint))
    stage.assert_story(dropped("mail", "client_disconnected"))
    assert "the client disconnected" in detail(stage)


def test_a_task_of_a_failed_websocket_is_told_so(stage: InProcessStage):
    """The detail of a task that a WebSocket's error cost speaks of that, and not of a response."""
    knock(socket_app(stage, KeyError("boom"), stage.works("mail")))
    assert "the WebSocket raised KeyError" in detail(stage)
    assert "response" not in detail(stage)


def test_a_cancelled_request_advises_both_ways(stage: InProcessStage):
    """The detail of a task whose request was cancelled has a way out of a timeout, and of a shutdown."""
    waits = asyncio.Event()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        waits.set()
        await asyncio.Event().wait()

    cancelled_while(stage.app(endpoint), waits)
    assert "the request was cancelled" in detail(stage)
    assert "@task(run_on_request_error=True)" in detail(stage)
    assert "grace period" in detail(stage)
