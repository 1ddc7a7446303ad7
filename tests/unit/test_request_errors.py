"""What an exception means for its request: whose it is, what kind it is, and whether it was told already."""

import asyncio
import types
from collections.abc import Iterator
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry.trace import get_current_span
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import Response

import afterword
from afterword._ledger import deferred
from tests.support.asgi import Answer, ask, call, http_scope
from tests.support.in_process import InProcessStage, plain_app
from tests.support.stage import Odd, named
from tests.support.story import answered_error, cancelled, dropped, failed, request_error, succeeded

# --- cancellations ----------------------------------------------------------------------------------------------


@types.coroutine
def forever() -> Iterator[None]:
    """Wait for whoever drives this coroutine, without any event loop."""
    while True:
        yield


class Cancelled(BaseException):
    """As trio's is called."""


@pytest.mark.parametrize(
    ("exc", "fate"),
    [
        (asyncio.CancelledError, cancelled("mail")),
        (Cancelled, cancelled("mail")),
        (Odd, failed("mail", "tests.support.stage.Odd")),
    ],
)
def test_a_cancellation_without_an_event_loop(stage: InProcessStage, exc, fate):
    """Where no event loop can be asked, what is called like a cancellation is one."""

    @named("mail")
    async def mail() -> None:
        await forever()

    async def endpoint(request) -> Response:
        return Response(background=BackgroundTask(mail))

    app: Starlette = stage.instrument(plain_app("/", endpoint))

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None: ...

    driven = app(http_scope("/"), receive, send)
    driven.send(None)
    with pytest.raises(exc):
        driven.throw(exc())
    stage.assert_story(fate)


def test_a_task_that_is_interrupted_was_cancelled(stage: InProcessStage):
    """Ctrl-C is no failure of the task that it happens to hit."""

    @named("mail")
    async def mail() -> None:
        raise KeyboardInterrupt

    app = stage.app_with(mail)
    with pytest.raises(KeyboardInterrupt):
        ask(app)
    assert stage.outcomes == [("mail", "cancelled")]


class GivesUp:
    """Answers in the place of what takes too long, with a status."""

    def __init__(self, app, status: int) -> None:
        self.app = app
        self.status = status

    async def __call__(self, scope, receive, send) -> None:
        try:
            async with asyncio.timeout(0.01):
                await self.app(scope, receive, send)
        except TimeoutError:
            await JSONResponse({}, self.status)(scope, receive, send)


@pytest.mark.parametrize(("status", "fails"), [(399, False), (400, True), (504, True)])
def test_a_cancellation_that_is_answered(stage: InProcessStage, status, fails):
    """A cancelled request has failed if it was answered with a 4xx or a 5xx, and not below."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        await asyncio.Event().wait()

    app = stage.app(endpoint)
    app.add_middleware(GivesUp, status=status)
    ask(app)
    errors = [request_error(status, "asyncio.exceptions.CancelledError")] if fails else []
    stage.assert_story(dropped("mail"), *errors)


class GivesUpLoudly(GivesUp):
    """Raises in the place of what takes too long."""

    async def __call__(self, scope, receive, send) -> None:
        async with asyncio.timeout(0.01):
            await self.app(scope, receive, send)


async def waits() -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def breaks_off() -> StreamingResponse:
    """Begin an answer, and never end it."""

    async def body():
        yield b"begun"
        await asyncio.Event().wait()

    return StreamingResponse(body())


@pytest.mark.parametrize(
    ("limit", "endpoint", "status", "error_type"),
    [
        (GivesUp, waits, 504, "asyncio.exceptions.CancelledError"),
        (GivesUpLoudly, waits, 500, "TimeoutError"),
        (GivesUpLoudly, breaks_off, 200, "TimeoutError"),
    ],
)
def test_a_mounted_application_that_is_cut_off(stage: InProcessStage, limit, endpoint, status, error_type):
    """Where an application cuts off one that is mounted in it, the answer is its own, and so is the report."""
    inner, outer = stage.fastapi(), stage.fastapi()
    inner.get("/")(endpoint)
    outer.mount("/inner", stage.instrument(inner))
    outer.add_middleware(limit, status=504)
    ask(stage.instrument(outer, on_request_error=[stage.works("notify")]), "/inner/")
    assert stage.did == ["notify"]
    stage.assert_story(succeeded("notify"), request_error(status, error_type, "/inner/"))


@pytest.mark.parametrize("status", [200, 500])
def test_a_mounted_application_that_has_answered(stage: InProcessStage, status):
    """An error that a mounted application has judged by itself is judged nowhere else: with a 200 none failed."""

    async def endpoint() -> None:
        raise KeyError("boom")

    inner, outer = stage.fastapi(), stage.fastapi()
    inner.get("/")(endpoint)
    inner.add_exception_handler(Exception, lambda request, exc: JSONResponse({}, status))
    outer.mount("/inner", stage.instrument(inner))
    ask(stage.instrument(outer), "/inner/")
    stage.assert_story((request_error if status == 500 else answered_error)(status, "KeyError", "/inner/"))
    assert len(stage.lines("request.failed")) == (status == 500)


# --- one error or two -------------------------------------------------------------------------------------------


class RaisesAnother:
    """Swallows an exception, and then raises another one that did not come of it."""

    def __init__(self, app, another: BaseException) -> None:
        self.app = app
        self.another = another

    async def __call__(self, scope, receive, send) -> None:
        with suppress(KeyError, asyncio.CancelledError):
            await self.app(scope, receive, send)
        raise self.another


def chained(length: int) -> Exception:
    """Make an error with a history of others."""
    error = OSError("the first")
    for _ in range(length):
        later = OSError("one that came of it")
        later.__cause__ = error
        error = later
    return error


def raising(stage: InProcessStage, exc: BaseException) -> FastAPI:
    """Make an application whose endpoint raises."""

    async def endpoint() -> None:
        raise exc

    return stage.app(endpoint)


def test_an_error_with_a_long_history_of_its_own(stage: InProcessStage):
    """An error that came of ten others, none of them the request's first one, is told beside that."""
    app = raising(stage, KeyError("boom"))
    app.add_middleware(RaisesAnother, another=chained(12))
    ask(app)
    stage.assert_story(request_error(500, "KeyError"), request_error(500, "OSError"))


@pytest.mark.parametrize("another", [RuntimeError("of my own"), LookupError("of my own")])
def test_an_error_beside_a_stray_cancellation(stage: InProcessStage, another):
    """An error that says more than that nothing was answered is told beside the stray cancellation."""
    app = raising(stage, asyncio.CancelledError())
    app.add_middleware(RaisesAnother, another=another)
    ask(app)
    stage.assert_story(
        request_error(500, "asyncio.exceptions.CancelledError"), request_error(500, type(another).__name__)
    )


def test_the_report_of_a_failed_request_is_in_its_trace(stage: InProcessStage):
    """The line of a failed request has the ids of the span that was open when the error came."""
    ids = []

    async def endpoint() -> None:
        span = get_current_span().get_span_context()
        ids.extend([f"{span.trace_id:032x}", f"{span.span_id:016x}"])
        raise KeyError("boom")

    app = stage.app(endpoint)
    with stage.settings["tracer_provider"].get_tracer("shop").start_as_current_span("a request"):
        ask(app)
    [line] = stage.lines("request.failed")
    assert [line["trace_id"], line["span_id"]] == ids


# --- a client that has gone -------------------------------------------------------------------------------------


def test_an_answer_that_cannot_be_written_has_lost_its_client(stage: InProcessStage):
    """What the server raises because the client has gone is no error of the request; it costs the tasks."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))

    app = stage.app(endpoint)

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None:
        raise OSError("the connection is closed")

    with pytest.raises(OSError, match="closed"):
        asyncio.run(app(http_scope("/"), receive, send))
    stage.assert_story(dropped("mail", "client_disconnected"))


# --- an endpoint that goes on while a middleware raises ---------------------------------------------------------


class Impatient:
    """Raises when the endpoint has got to some point, and lets it go on."""

    def __init__(self, app, began: asyncio.Event) -> None:
        self.app = app
        self.began = began

    async def __call__(self, scope, receive, send) -> None:
        async def lose(message) -> None: ...

        beside.append(asyncio.create_task(self.app(scope, receive, lose)))
        await self.began.wait()
        raise LookupError("I have waited enough")


beside: list[asyncio.Task] = []


def play(stage: InProcessStage, endpoint, began: asyncio.Event, ends: asyncio.Event) -> Answer:
    """Ask an application whose middleware raises while its endpoint goes on; let that come to its end, too."""
    app = stage.app(endpoint)
    app.add_middleware(Impatient, began=began)

    async def scenario() -> Answer:
        answer = await call(app)
        ends.set()
        await beside.pop()
        return answer

    return asyncio.run(scenario())


def test_an_endpoint_that_goes_on_runs_its_tasks_itself(stage: InProcessStage):
    """Where a middleware has raised, what its endpoint still runs is not run for the error as well."""
    began, ends = asyncio.Event(), asyncio.Event()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(afterword.task(run_on_request_error=True)(stage.works("audit")))
        tasks.add_task(stage.works("mail"))
        began.set()
        await ends.wait()

    play(stage, endpoint, began, ends)
    assert stage.did == ["audit", "mail"]
    stage.assert_story(succeeded("audit"), succeeded("mail"), request_error(500, "LookupError"))


def test_what_an_endpoint_that_goes_on_forgets_was_dropped(stage: InProcessStage):
    """Tasks that are lost after a middleware has raised are told to be dropped for that, each of them."""
    began, ends = asyncio.Event(), asyncio.Event()

    async def endpoint() -> None:
        made = [BackgroundTask(stage.works("mail")), BackgroundTask(stage.works("audit"))]
        began.set()
        await ends.wait()
        made.clear()

    play(stage, endpoint, began, ends)
    deferred.drain()
    stage.assert_story(dropped("mail"), dropped("audit"), request_error(500, "LookupError"))
    details = [line["detail"] for line in stage.lines("background_task.dropped")]
    assert all("LookupError" in detail for detail in details)


class Hurried:
    """Answers with a 504 when the endpoint has got to some point, and lets it go on."""

    def __init__(self, app, began: asyncio.Event) -> None:
        self.app = app
        self.began = began

    async def __call__(self, scope, receive, send) -> None:
        async def lose(message) -> None: ...

        beside.append(asyncio.create_task(self.app(scope, receive, lose)))
        await self.began.wait()
        await Response(status_code=504)(scope, receive, send)


@pytest.mark.parametrize(
    ("ends_with", "did"),
    [(None, ["mail"]), (LookupError, ["notify"]), (asyncio.CancelledError, [])],
    ids=["its return", "an error", "a cancellation"],
)
def test_how_an_endpoint_ends_behind_the_answer(stage: InProcessStage, ends_with, did):
    """It ends as without us, and its tasks or callbacks run; a cancellation is not held up by any."""
    began, ends = asyncio.Event(), asyncio.Event()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        began.set()
        await ends.wait()
        if ends_with is not None:
            raise ends_with

    app = stage.app(endpoint, on_request_error=[stage.works("notify")])
    app.add_middleware(Hurried, began=began)

    async def scenario() -> None:
        assert (await call(app)).status == 504
        going_on = beside.pop()
        if ends_with is asyncio.CancelledError:
            going_on.cancel()
        else:
            ends.set()
        [raised] = await asyncio.gather(going_on, return_exceptions=True)
        assert type(raised) is (ends_with or type(None))

    asyncio.run(scenario())
    assert stage.did == did
    assert ("mail", "succeeded" if ends_with is None else "dropped") in stage.outcomes


def test_what_is_torn_down_behind_the_answer_is_settled(stage: InProcessStage):
    """An endpoint that is destroyed after its request had been answered leaves no task untold."""

    class TearsDown:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            driven = self.app(scope, receive, send)
            driven.send(None)
            beside.append(driven)
            await Response(status_code=202)(scope, receive, send)

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        await forever()

    app = stage.app(endpoint)
    app.add_middleware(TearsDown)

    async def scenario() -> None:
        assert (await call(app)).status == 202
        assert stage.ended == []
        beside.pop().close()

    asyncio.run(scenario())
    deferred.drain()
    assert stage.outcomes == [("mail", "abandoned")]


def test_a_marked_task_of_another_attempt_runs_once(stage: InProcessStage):
    """Of two attempts at once, the one that raises does not take the other one's tasks for its own."""
    began = [asyncio.Event(), asyncio.Event()]
    ends = [asyncio.Event(), asyncio.Event()]
    attempts = iter(range(2))

    class Hedges:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            going_on = []
            for event in began:
                going_on.append(asyncio.create_task(self.app(dict(scope), receive, send)))
                await event.wait()
            for attempt, event in zip(going_on, ends, strict=True):
                event.set()
                with suppress(LookupError):
                    await attempt

    async def endpoint(tasks: BackgroundTasks) -> None:
        attempt = next(attempts)
        if attempt == 1:
            tasks.add_task(afterword.task(run_on_request_error=True)(stage.works("audit")))
        began[attempt].set()
        await ends[attempt].wait()
        if attempt == 0:
            raise LookupError

    app = stage.app(endpoint)
    app.add_middleware(Hedges)
    assert ask(app).status == 200
    assert stage.did == ["audit"]
    stage.assert_story(succeeded("audit"), answered_error(200, "LookupError", ""))
