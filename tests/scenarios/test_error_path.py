"""Requests that fail, and the tasks that never run because of it."""

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

from afterword import task
from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import ANY, HTTP_EXCEPTION, abandoned, dropped, request_error, succeeded
from tests.support.versions import EXITS_AFTER_RESPONSE
from tests.support.visit import get


def raising(exc: Exception):
    """Build an application whose only endpoint schedules a task and raises."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            raise exc

        return app

    return build


def test_an_http_exception_drops_the_task(comparison: Comparison):
    """A task scheduled before an ``HTTPException`` is dropped; a 4xx is a warning without a traceback."""
    comparison.verify(raising(HTTPException(404)), get(), dropped("mail"), request_error(404, HTTP_EXCEPTION))
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "warning"


def test_an_http_exception_of_the_servers_fault_is_an_error(comparison: Comparison):
    """An ``HTTPException`` of 500 or more is an error with a traceback."""
    comparison.verify(raising(HTTPException(503)), get(), dropped("mail"), request_error(503, HTTP_EXCEPTION))
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "error"


def test_a_failed_validation_drops_the_task_of_a_dependency(comparison: Comparison):
    """A dependency's task is dropped when validation fails; the input is never in the log."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def dependency(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("audit"))

        @app.get("/", dependencies=[Depends(dependency)])
        async def endpoint(age: int) -> None:
            stage.did.append(age)

        return app

    error = request_error(422, "fastapi.exceptions.RequestValidationError")
    comparison.verify(build, get("/?age=hunter2"), dropped("audit"), error)
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "warning"
    assert "hunter2" not in repr(comparison.accounts.lines.entries)
    assert "hunter2" not in repr([span.to_json() for span in comparison.accounts.spans.of_runs()])


def test_an_unhandled_exception_is_reported_once(comparison: Comparison):
    """An unhandled exception drops the tasks and is reported once, with its traceback."""
    comparison.verify(raising(ValueError("boom")), get(), dropped("mail"), request_error(500, "ValueError"))
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "error"
    if comparison.telemetry_mode.traces_requests:
        assert line["trace_id"] == comparison.accounts.recorder.run("mail").trace_id


def test_a_response_that_its_model_refuses_is_the_servers_error(comparison: Comparison):
    """A response that is not what was promised is the server's error."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/", response_model=int)
        async def endpoint(tasks: BackgroundTasks) -> str:
            tasks.add_task(stage.works("mail"))
            return "not a number"

        return app

    error = request_error(500, "fastapi.exceptions.ResponseValidationError")
    comparison.verify(build, get(), dropped("mail"), error)


def test_debug_mode_keeps_its_traceback_page(comparison: Comparison):
    """In debug mode the page with the traceback is sent, and the error is reported as ever."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi(debug=True)

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))
            raise ValueError("boom")

        return app

    def drive(visit) -> None:
        response = visit.get("/")
        del visit.seen[:]  # the page lists every frame on the way, so it differs
        visit.seen.append((response.status_code, "ValueError: boom" in response.text))

    comparison.verify(build, drive, dropped("mail"), request_error(500, "ValueError"))


@pytest.mark.parametrize("handles", [ValueError, Exception])
def test_the_background_of_a_handler_runs(comparison: Comparison, handles: type[Exception]):
    """The user's handler answers with a task: that one runs, the endpoint's is dropped, the error is told."""

    def build(stage: Stage) -> FastAPI:
        app = raising(ValueError("boom"))(stage)

        @app.exception_handler(handles)
        async def handler(request: Request, exc: Exception) -> JSONResponse:
            task = BackgroundTask(stage.works("audit"))
            return JSONResponse({"sorry": True}, 500, {"x-sorry": "yes"}, background=task)

        return app

    comparison.verify(build, get(), dropped("mail"), succeeded("audit"), request_error(500, "ValueError"))
    events = [entry["event"] for entry in comparison.accounts.lines.entries]
    assert events.index("request.failed") < events.index("background_task.succeeded")


def test_a_stream_that_breaks_drops_the_task(comparison: Comparison):
    """A generator that raises midway drops the tasks; the request is reported once, as an error."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def stream():
            yield "a"
            raise ValueError("boom")

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
            tasks.add_task(stage.works("mail"))
            return StreamingResponse(stream())

        return app

    comparison.verify(build, get(), dropped("mail"), request_error(ANY, "ValueError"))
    [line] = comparison.accounts.lines.of_requests()
    assert line["log_level"] == "error"


def test_an_error_in_the_exit_of_a_dependency_is_reported_once(comparison: Comparison):
    """An error in a ``yield`` dependency's exit is reported once, whether the tasks have run or not."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def dependency():
            yield
            raise HTTPException(404)

        @app.get("/", dependencies=[Depends(dependency)])
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        return app

    fate = succeeded("mail") if EXITS_AFTER_RESPONSE else dropped("mail")
    status = ANY if EXITS_AFTER_RESPONSE else 404
    comparison.verify(build, get(), fate, request_error(status, HTTP_EXCEPTION))


def test_an_exception_answered_with_a_redirect_is_no_failed_request(comparison: Comparison):
    """An exception that redirects drops the tasks, but is no failed request."""
    to_login = HTTPException(307, headers={"location": "/login"})
    comparison.verify(raising(to_login), get(), dropped("mail"))


def test_a_marked_task_runs_behind_a_redirect(comparison: Comparison):
    """A task that runs on request errors runs behind an answer made of an exception, also of one below 400."""
    stage = comparison.stage()
    app = stage.fastapi()
    audit = task(name="audit", run_on_request_error=True)(stage.works("audit"))

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(audit)
        tasks.add_task(stage.works("mail"))
        raise HTTPException(307, headers={"location": "/login"})

    comparison.instrument(app)
    with stage.serve(app) as server:
        assert httpx.get(server.url).status_code == 307
        comparison.expect(succeeded("audit"), dropped("mail"))


def test_the_background_of_a_response_that_is_never_sent_is_abandoned(comparison: Comparison):
    """A handler whose response can no longer be sent is called; its own task is abandoned."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        async def stream():
            yield "a"
            raise ValueError("boom")

        @app.exception_handler(Exception)
        async def handler(request: Request, exc: Exception) -> JSONResponse:
            stage.did.append("handler")
            return JSONResponse({}, 500, background=BackgroundTask(stage.works("audit")))

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
            tasks.add_task(stage.works("mail"))
            return StreamingResponse(stream())

        return app

    expected = dropped("mail"), abandoned("audit", ANY), request_error(ANY, "ValueError")
    comparison.verify(build, get(), *expected)


@pytest.mark.parametrize("handles", [ValueError, Exception])
def test_the_one_constant_response_of_a_handler_stays_as_it_is(comparison: Comparison, handles: type[Exception]):
    """A response object that a handler returns for every error stays as it is; each error is told once."""
    constants: list[JSONResponse] = []

    def build(stage: Stage) -> FastAPI:
        app = raising(ValueError("boom"))(stage)
        constant = JSONResponse({"sorry": True}, 503)
        constants.append(constant)
        app.add_exception_handler(handles, lambda request, exc: constant)
        return app

    error = request_error(503, "ValueError")
    comparison.verify(build, get("/", "/"), dropped("mail"), dropped("mail"), error, error)
    assert all(constant.background is None for constant in constants)
    assert all(sorted(vars(constant)) == sorted(vars(JSONResponse({}))) for constant in constants)
