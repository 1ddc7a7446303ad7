"""Exception handlers of every kind: the client gets what it would have got without us."""

import inspect
from typing import Any

import pytest
from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteHTTPException

from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import abandoned, dropped, failed, request_error
from tests.support.versions import NATIVE_TELEMETRY
from tests.unit.test_error_path import app_that_raises, notifiers


def handlers(stage: InProcessStage):
    """Make exception handlers of every kind, by the name of what they return."""
    constant = JSONResponse({"handled": "constant"}, 418)

    async def returns_response(request: Request, exc: Exception):
        return JSONResponse({"handled": str(exc)}, 418, background=BackgroundTask(stage.works("own")))

    def returns_constant(request: Request, exc: Exception):
        return constant

    async def returns_none(request: Request, exc: Exception):
        return None

    def returns_application(request: Request, exc: Exception):
        async def application(scope, receive, send) -> None:
            await HTMLResponse("<b>no</b>", 418)(scope, receive, send)

        return application

    async def raises(request: Request, exc: Exception):
        raise RuntimeError("handler") from exc

    return {name: handler for name, handler in locals().items() if inspect.isfunction(handler)}


# where a handler fails, the application sends nothing, and the server answers; or contrib does so in its place
UNANSWERED: list[Any] = [] if NATIVE_TELEMETRY else ask(PlainTextResponse("Internal Server Error", 500)).messages

HANDLERS = ["returns_response", "returns_constant", "returns_none", "returns_application", "raises"]


@pytest.mark.parametrize("kind", [KeyError, Exception, StarletteHTTPException], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("handler", HANDLERS)
def test_responses_are_the_same_to_the_byte(stage: InProcessStage, handler, kind):
    """Whatever a handler returns, the client gets what it would have got; the error is reported once."""
    answers, exc = [], HTTPException(404) if kind is StarletteHTTPException else KeyError("boom")
    for watched in (False, True):
        app = app_that_raises(stage, exc)
        app.add_exception_handler(kind, handlers(stage)[handler])
        if watched:
            stage.instrument(app, on_request_error=notifiers(stage))
        answers += [ask(app), ask(app)]
    assert [a.messages for a in answers[2:]] == [a.messages or UNANSWERED for a in answers[:2]]
    assert [repr(a.error) for a in answers[2:]] == [repr(a.error) for a in answers[:2]]
    assert len(stage.accounts.recorder.failed_requests) == 2
    assert [did[0] for did in stage.did if did != "own"] == ["notify", "page"] * 2
    assert stage.outcomes.count(("mail", "dropped")) == 2


@pytest.mark.parametrize("accept", [b"text/html", b"text/plain"])
def test_the_debug_page_is_kept(stage: InProcessStage, accept):
    """In debug mode the traceback page comes as ever, and the error is reported."""
    app = stage.instrument(app_that_raises(stage, KeyError("boom"), debug=True))
    answer = ask(app, headers=[(b"accept", accept)])
    assert answer.status == 500
    assert "KeyError" in answer.text
    assert "Traceback" in answer.text
    assert "afterword/probe" not in answer.text
    stage.assert_story(dropped("mail"), request_error(500, "KeyError"))


def test_a_response_class_finds_a_background_to_await(stage: InProcessStage):
    """A response of the user's own kind that asks how to call its background gets it run, and what it carries."""

    class Careful(JSONResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            background, self.background = self.background, None
            await super().__call__(scope, receive, send)
            assert background is not None
            stage.did.append("awaits" if background.is_async else "calls in a thread")
            await background()

    app = app_that_raises(stage, KeyError("boom"))
    app.add_exception_handler(
        KeyError, lambda request, exc: Careful({}, 500, background=BackgroundTask(stage.works("own")))
    )
    stage.instrument(app)
    assert ask(app).status == 500
    assert stage.did == ["awaits", "own"]


def test_a_task_on_an_answer_that_came_too_late(stage: InProcessStage):
    """The answer to a task's error comes behind the response: what it carries is told not to have been sent."""
    app = stage.app_with(stage.fails("mail"))
    app.add_exception_handler(
        Exception, lambda request, exc: JSONResponse({}, 500, background=BackgroundTask(stage.works("report")))
    )
    assert ask(app).status == 200
    stage.assert_story(failed("mail"), abandoned("report", "response_replaced"))
