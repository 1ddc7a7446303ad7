"""An error that came of another one: one request is one report, and it tells what the answer is owed to."""

import asyncio
import math

import pytest
from fastapi import BackgroundTasks, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware

from afterword._ledger import deferred
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import abandoned, answered_error, dropped, request_error
from tests.unit.test_log_helpers import REST, messages, serve_once


async def raises_key_error(background: BackgroundTasks, request: Request) -> None:
    """Schedule what is in the application's state, then raise."""
    background.add_task(request.app.state.mail)
    raise KeyError("boom")


def with_handler(stage: InProcessStage, kind, handler):
    """Make an application whose endpoint raises `KeyError`, with a handler of some kind."""
    app = stage.fastapi()
    app.state.mail = stage.works("mail")
    app.get("/")(raises_key_error)
    app.add_exception_handler(kind, handler)
    return app


class Wraps:
    """A middleware that raises an error of its own from every other."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as exc:
            raise ConnectionError("no upstream") from exc


async def raises_os_error(request: Request, exc: Exception):
    """Fail as a handler whose own database is down."""
    raise OSError("the database is down")


@pytest.mark.parametrize("kind", [KeyError, Exception], ids=["inside", "outermost"])
def test_a_handler_that_raises(stage: InProcessStage, server_log, kind):
    """The error of a handler answers the request, so it is what is told, with the first one in its traceback."""
    told = []

    async def notify(request, exc) -> None:
        told.append(repr(exc))

    output = stage.render()
    app = stage.instrument(with_handler(stage, kind, raises_os_error), on_request_error=[notify])
    asyncio.run(serve_once(app))
    [line] = stage.lines("request.failed")
    assert line["error_type"] == "OSError"
    assert "KeyError" in output.getvalue()
    assert told == ["OSError('the database is down')"]
    assert ("mail", "OSError") in [(run.name, run.error_type) for run in stage.ended]
    assert messages(server_log) == REST


def test_an_error_that_a_middleware_makes_of_another(stage: InProcessStage, server_log):
    """What a middleware raises from an error is told, and is no news to the server's log."""
    stage.render()
    app = stage.fastapi()
    app.state.mail = stage.works("mail")
    app.get("/")(raises_key_error)
    app.add_middleware(Wraps)
    stage.instrument(app)
    asyncio.run(serve_once(app))
    [line] = stage.lines("request.failed")
    assert (line["error_type"], line["http_status"]) == ("ConnectionError", 500)
    assert messages(server_log) == REST


def test_an_error_made_of_one_that_was_told_already(stage: InProcessStage, server_log):
    """What comes of an error after its line has gone out stays in the server's log."""

    async def answers(request: Request, exc: Exception):
        return JSONResponse({}, 500)

    stage.render()
    app = with_handler(stage, Exception, answers)
    stage.instrument(app)
    asyncio.run(serve_once(Wraps(app)))  # around the application: the line has gone out
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_an_error_made_of_one_of_a_mounted_application(stage: InProcessStage, server_log):
    """What is made of an error that a mounted application told by itself stays in the server's log."""
    stage.render()
    outer = stage.fastapi()
    outer.add_middleware(Wraps)
    inner = stage.fastapi()
    inner.state.mail = stage.works("mail")
    inner.get("/")(raises_key_error)
    outer.mount("/inner", stage.instrument(inner))
    stage.instrument(outer)
    asyncio.run(serve_once(outer, path="/inner/"))
    assert [line["error_type"] for line in stage.lines("request.failed")] == ["KeyError"]
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_an_error_that_is_made_of_a_failed_task(stage: InProcessStage, server_log):
    """What a middleware makes of a task's error stays in the server's log: only the task's own has been told."""
    stage.render()
    app = stage.app_with(stage.fails("mail"))
    app.add_middleware(Wraps)
    asyncio.run(serve_once(app))
    assert len(stage.lines("background_task.failed")) == 1
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_a_validation_whose_handler_raises(stage: InProcessStage, server_log):
    """A 422 that cannot be written, since the body was NaN, is a 500, and says so without what the client sent."""

    async def quotes(request: Request, exc: Exception):
        return JSONResponse({"value": math.nan}, 422)

    async def endpoint(count: int) -> None: ...

    output = stage.render()
    app = stage.fastapi()
    app.get("/")(endpoint)
    app.add_exception_handler(RequestValidationError, quotes)
    stage.instrument(app)
    asyncio.run(serve_once(app, path="/?count=s3cret"))
    [line] = stage.lines("request.failed")
    assert (line["error_type"], line["http_status"], line["log_level"]) == ("ValueError", 500, "error")
    assert "query.count" in output.getvalue()
    assert "s3cret" not in output.getvalue()
    assert messages(server_log) == REST


def test_a_handler_that_raises_an_answer(stage: InProcessStage):
    """A handler that turns an error into an `HTTPException` makes a 404 of it, by which it is told."""

    async def not_found(request: Request, exc: Exception):
        raise HTTPException(404) from exc

    ask(stage.instrument(with_handler(stage, KeyError, not_found)))
    name = "fastapi.exceptions.HTTPException"
    assert [line["log_level"] for line in stage.accounts.lines.of_requests()] == ["warning"]
    stage.assert_story(dropped("mail"), request_error(404, name))


def test_a_handlers_stream_that_breaks(stage: InProcessStage):
    """A handler that answers with 200 and then breaks off has failed its request."""

    async def breaks_off():
        yield b"half"
        raise OSError("the disk is full")

    async def stream(request: Request, exc: Exception):
        return StreamingResponse(breaks_off())

    ask(stage.instrument(with_handler(stage, KeyError, stream)))
    stage.assert_story(dropped("mail"), request_error(200, "OSError"))


class BreaksOff(Response):
    """Raises where it is half written."""

    async def __call__(self, scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": []})
        raise OSError("the disk is full")


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("kind", [KeyError, Exception], ids=["inside", "outermost"])
def test_a_handlers_own_task_whose_response_breaks_off(stage: InProcessStage, kind, status):
    """A task on an error response that breaks off is dropped, for what that raised; the request has failed."""

    async def breaks(request: Request, exc: Exception) -> Response:
        return BreaksOff(status_code=status, background=BackgroundTask(stage.works("audit")))

    ask(stage.instrument(with_handler(stage, kind, breaks)))
    stage.assert_story(dropped("mail"), dropped("audit"), request_error(status, "OSError"))
    details = [line["detail"] for line in stage.lines("background_task.dropped")]
    assert all("the response broke off with OSError" in detail for detail in details)
    assert [line["log_level"] for line in stage.accounts.lines.of_requests()] == [
        "warning" if status == 404 else "error"
    ]


def test_a_middleware_whose_own_answer_breaks_off(stage: InProcessStage):
    """A middleware that raises where its answer is half written has failed its request, whatever the status."""

    class Breaks:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await BreaksOff()(scope, receive, send)

    app = stage.app()
    app.add_middleware(Breaks)
    ask(app)
    stage.assert_story(request_error(200, "OSError", route=""))


def test_an_error_of_a_middleware_that_is_answered_below_400(stage: InProcessStage):
    """What the outermost handler answers with a 200 has not failed, wherever the error came from."""

    class Raises:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            raise KeyError("boom")

    async def answers(request: Request, exc: Exception) -> JSONResponse:
        return JSONResponse({}, 200)

    app = stage.app()
    app.add_middleware(Raises)
    app.add_exception_handler(Exception, answers)
    assert ask(app).status == 200
    stage.assert_story(answered_error(200, "KeyError", ""))


def test_a_client_error_whose_answer_breaks_off_with_a_task(stage: InProcessStage):
    """A 4xx is a warning where what it cost was a task of its own answer."""

    async def endpoint() -> None:
        raise KeyError("boom")

    async def breaks(request: Request, exc: Exception) -> Response:
        return BreaksOff(status_code=404, background=BackgroundTask(stage.works("audit")))

    app = stage.app(endpoint)
    app.add_exception_handler(KeyError, breaks)
    ask(app)
    assert [line["log_level"] for line in stage.accounts.lines.of_requests()] == ["warning"]
    stage.assert_story(dropped("audit"), request_error(404, "OSError"))


def test_a_handlers_response_that_cannot_be_sent_any_more(stage: InProcessStage):
    """A task on an error response that came too late is abandoned: another response was what broke off."""

    class RaisesMore:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            try:
                await self.app(scope, receive, send)
            except OSError:
                raise ConnectionError("no session") from None

    async def endpoint() -> Response:
        return BreaksOff()

    kept: list[BackgroundTask] = []

    async def too_late(request: Request, exc: Exception) -> Response:
        response = Response(status_code=500, background=BackgroundTask(stage.works("audit")))
        kept.append(BackgroundTask(stage.works("late")))
        return response

    app = stage.app(endpoint)
    app.add_middleware(RaisesMore)
    app.add_exception_handler(Exception, too_late)
    ask(app)
    kept.clear()  # what was made behind the response is owed to the error
    deferred.drain()
    stage.assert_story(
        abandoned("audit", "response_replaced"), dropped("late"), request_error(200, "ConnectionError")
    )


class Passes(BaseHTTPMiddleware):
    """Calls its application in a task group, which takes a `CancelledError` for its own."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


def test_a_cancelled_error_that_a_task_group_swallows(stage: InProcessStage):
    """That there is no answer is no other error than the one for which there is none."""

    async def endpoint() -> None:
        raise asyncio.CancelledError  # of something that was cancelled before, and not of this request

    app = stage.app(endpoint)
    app.add_middleware(Passes)
    ask(app)
    stage.assert_story(request_error(500, "asyncio.exceptions.CancelledError"))


class GoesOn:
    """Waits for its application, whatever comes of it, and fails for a reason of its own."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            await asyncio.wait([asyncio.create_task(self.app(scope, receive, send))])
            raise ConnectionError("no session")


def test_an_error_after_a_cancelled_error(stage: InProcessStage):
    """What does not come of a `CancelledError` is an error of its own."""

    async def endpoint() -> None:
        raise asyncio.CancelledError

    app = stage.app(endpoint)
    app.add_middleware(GoesOn)
    ask(app)
    stage.assert_story(
        request_error(500, "asyncio.exceptions.CancelledError"), request_error(500, "ConnectionError")
    )


class GivesUp:
    """Cancels its application, and then fails with an error that does not come of the cancellation."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "http":
            calling = asyncio.create_task(self.app(scope, receive, send))
            await asyncio.sleep(0)
            calling.cancel()
            await asyncio.wait([calling])
            raise ConnectionError("too slow")


def test_an_error_in_the_place_of_a_cancellation_is_told_once(stage: InProcessStage):
    """What took the place of a cancellation is one error, answered by a handler and raised behind it."""

    async def endpoint() -> None:
        await asyncio.Event().wait()

    async def answers(request: Request, exc: Exception) -> JSONResponse:
        return JSONResponse({}, 500)

    app = stage.app(endpoint)
    app.add_middleware(GivesUp)
    app.add_exception_handler(Exception, answers)
    assert ask(app).status == 500
    stage.assert_story(request_error(500, "ConnectionError"))


def test_an_error_of_the_handler_of_what_took_the_place_of_a_cancellation(stage: InProcessStage):
    """The last error is what the server answers for, also if the first of them was a cancellation."""

    async def endpoint() -> None:
        await asyncio.Event().wait()

    async def breaks(request: Request, exc: Exception) -> JSONResponse:
        raise LookupError("no answer")

    app = stage.app(endpoint)
    app.add_middleware(GivesUp)
    app.add_exception_handler(Exception, breaks)
    ask(app)
    stage.assert_story(request_error(500, "LookupError"))


def test_a_retry_of_what_was_made_of_an_error(stage: InProcessStage):
    """An error that is raised again after another one came of it is still the same error."""

    class Middleware:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            first = None
            try:
                await self.app(scope, receive, send)
            except OSError as exc:
                first = exc.__context__
                exc.__context__ = None
            if first is not None:
                raise first

    app = with_handler(stage, KeyError, raises_os_error)
    app.add_middleware(Middleware)
    ask(stage.instrument(app))
    stage.assert_story(dropped("mail"), request_error(500, "KeyError"))


@pytest.mark.parametrize("handler", [raises_os_error, None], ids=["raising", "none"])
def test_below_a_middleware_with_a_task_group(stage: InProcessStage, handler):
    """A middleware of `BaseHTTPMiddleware` may change what an error came of; the error stays one."""

    async def passes(request, call_next):
        return await call_next(request)

    app = with_handler(stage, KeyError, handler) if handler else stage.fastapi()
    if handler is None:
        app.state.mail = stage.works("mail")
        app.get("/")(raises_key_error)
    app.add_middleware(BaseHTTPMiddleware, dispatch=passes)
    ask(stage.instrument(app))
    kind = "OSError" if handler else "KeyError"
    stage.assert_story(dropped("mail"), request_error(500, kind))
