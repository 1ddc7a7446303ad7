"""Instrumented applications inside each other, and other tools beneath us."""

import pytest
from fastapi import BackgroundTasks
from fastapi.responses import JSONResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.background import BackgroundTask
from starlette.middleware.exceptions import ExceptionMiddleware

from tests.support.accounts import Recorder
from tests.support.asgi import ask, http_scope
from tests.support.in_process import InProcessStage
from tests.support.story import dropped, failed, request_error, succeeded


def nested(stage: InProcessStage, endpoint, **options):
    """Return an instrumented application inside another one, and what each of the two observes."""
    inner, outer, own = stage.fastapi(), stage.fastapi(), Recorder()
    inner.get("/items/{item}")(endpoint)
    outer.mount("/inner", inner)
    stage.instrument(outer)
    stage.instrument(inner, observers=[own], **options)
    return outer, own


def test_each_keeps_its_own_tasks(stage: InProcessStage):
    """A task of an application with settings of its own is told to its observers, with the whole route."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    outer, own = nested(stage, endpoint)
    ask(outer, "/inner/items/7")
    [run] = own.ended_runs
    assert (run.name, run.request.route) == ("shop.mail", "/inner/items/{item}")
    stage.assert_story(succeeded("mail"))


def test_an_error_is_reported_once(stage: InProcessStage):
    """An error that passes through both applications is reported by the inner one, and not again."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise KeyError("boom")

    outer, own = nested(stage, endpoint)
    assert type(ask(outer, "/inner/items/7").error) is KeyError
    assert len(own.failed_requests) == 1
    stage.assert_story(dropped("mail"), request_error(500, "KeyError", "/inner/items/{item}"))


def test_the_outer_goes_on_after_the_inner(stage: InProcessStage):
    """What a middleware of the outer application schedules after the inner one has answered is its own."""

    async def endpoint() -> None: ...

    outer, own = nested(stage, endpoint)

    @outer.middleware("http")
    async def audit(request, call_next):
        response = await call_next(request)
        response.background = BackgroundTask(stage.works("audit"))
        return response

    assert ask(outer, "/inner/items/7").status == 200
    assert own.scheduled_runs == []
    assert stage.outcomes == [("audit", "succeeded")]


@pytest.mark.parametrize("make", ["works", "works_in_thread"])
def test_contrib_beneath_us_without_our_traces(stage: InProcessStage, make):
    """With `traces=False` contrib's span is opened as ever, and named after the function, not after us."""
    app = stage.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(getattr(stage, make)("mail"))

    FastAPIInstrumentor.instrument_app(app, tracer_provider=stage.settings["tracer_provider"])
    opens_spans = hasattr(BackgroundTask, "_otel_original_call")  # older ones do not
    stage.instrument(app, traces=False)
    ask(app)
    FastAPIInstrumentor.uninstrument_app(app)
    named = [span.name for span in stage.accounts.spans.all() if span.name.startswith("BackgroundTask ")]
    assert named == (["BackgroundTask mail"] if opens_spans else [])
    assert stage.outcomes == [("mail", "succeeded")]


def test_a_task_of_a_handler_that_fails(stage: InProcessStage):
    """If what a handler attached fails, the error tasks still run, and its error comes out."""

    async def notify(request, exc) -> None:
        stage.did.append("notify")

    async def endpoint() -> None:
        raise KeyError("boom")

    async def handler(request, exc):
        return JSONResponse({}, 418, background=BackgroundTask(stage.fails("mail")))

    app = stage.app(endpoint, on_request_error=[notify])
    app.add_exception_handler(KeyError, handler)
    answer = ask(app)
    assert answer.status == 418
    assert isinstance(answer.error, ValueError)
    assert stage.did == ["mail fails", "notify"]
    stage.assert_story(failed("mail"), succeeded("notify"), request_error(418, "KeyError"))


def test_the_middleware_outside_of_any_request(stage: InProcessStage):
    """Starlette's middleware used by hand, outside of any instrumented application, works as ever."""

    async def raises(scope, receive, send) -> None:
        raise KeyError("boom")

    async def answer(request, exc):
        return JSONResponse({"by": "hand"}, 418)

    stage.app()
    middleware = ExceptionMiddleware(raises, handlers={KeyError: answer})

    async def app(scope, receive, send) -> None:
        await middleware(http_scope("/") | scope | {"app": None}, receive, send)

    assert ask(app).status == 418
    assert stage.accounts.recorder.failed_requests == []
