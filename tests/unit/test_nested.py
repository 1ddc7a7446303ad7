"""Instrumented applications inside each other, and other tools beneath us."""

import pytest
from fastapi import BackgroundTasks
from fastapi.responses import JSONResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from starlette.background import BackgroundTask
from starlette.middleware.exceptions import ExceptionMiddleware

from tests.support.accounts import Recorder
from tests.support.asgi import ask, http_scope
from tests.support.in_process import Bench
from tests.support.story import dropped, failed, request_error, succeeded


def nested(bench: Bench, endpoint, **options):
    """Return an instrumented application inside another one, and what each of the two observes."""
    inner, outer, own = bench.fastapi(), bench.fastapi(), Recorder()
    inner.get("/items/{item}")(endpoint)
    outer.mount("/inner", inner)
    bench.instrument(outer)
    bench.instrument(inner, observers=[own], **options)
    return outer, own


def test_each_keeps_its_own_tasks(bench: Bench):
    """A task of an application with settings of its own is told to its observers, with the whole route."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(bench.works("mail"))

    outer, own = nested(bench, endpoint)
    ask(outer, "/inner/items/7")
    [run] = own.ended_runs
    assert (run.name, run.request.route) == ("shop.mail", "/inner/items/{item}")
    bench.assert_story(succeeded("mail"))


def test_an_error_is_reported_once(bench: Bench):
    """An error that passes through both applications is reported by the inner one, and not again."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(bench.works("mail"))
        raise KeyError("boom")

    outer, own = nested(bench, endpoint)
    assert type(ask(outer, "/inner/items/7").error) is KeyError
    assert len(own.failed_requests) == 1
    bench.assert_story(dropped("mail"), request_error(500, "KeyError", "/inner/items/{item}"))


def test_the_outer_goes_on_after_the_inner(bench: Bench):
    """What a middleware of the outer application schedules after the inner one has answered is its own."""

    async def endpoint() -> None: ...

    outer, own = nested(bench, endpoint)

    @outer.middleware("http")
    async def audit(request, call_next):
        response = await call_next(request)
        response.background = BackgroundTask(bench.works("audit"))
        return response

    assert ask(outer, "/inner/items/7").status == 200
    assert own.scheduled_runs == []
    assert bench.outcomes == [("audit", "succeeded")]


@pytest.mark.parametrize("make", ["works", "works_in_thread"])
def test_contrib_beneath_us_without_our_traces(bench: Bench, make):
    """With `traces=False` contrib's span is opened as ever, and named after the function, not after us."""
    app = bench.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(getattr(bench, make)("mail"))

    FastAPIInstrumentor.instrument_app(app, tracer_provider=bench.settings["tracer_provider"])
    opens_spans = hasattr(BackgroundTask, "_otel_original_call")  # older ones do not
    bench.instrument(app, traces=False)
    ask(app)
    FastAPIInstrumentor.uninstrument_app(app)
    named = [span.name for span in bench.accounts.spans.all() if span.name.startswith("BackgroundTask ")]
    assert named == (["BackgroundTask mail"] if opens_spans else [])
    assert bench.outcomes == [("mail", "succeeded")]


def test_a_task_of_a_handler_that_fails(bench: Bench):
    """If what a handler attached fails, the error tasks still run, and its error comes out."""

    async def notify(request, exc) -> None:
        bench.did.append("notify")

    async def endpoint() -> None:
        raise KeyError("boom")

    async def handler(request, exc):
        return JSONResponse({}, 418, background=BackgroundTask(bench.fails("mail")))

    app = bench.app(endpoint, on_request_error=[notify])
    app.add_exception_handler(KeyError, handler)
    answer = ask(app)
    assert answer.status == 418
    assert isinstance(answer.error, ValueError)
    assert bench.did == ["mail fails", "notify"]
    bench.assert_story(failed("mail"), succeeded("notify"), request_error(418, "KeyError"))


def test_the_middleware_outside_of_any_request(bench: Bench):
    """Starlette's middleware used by hand, outside of any instrumented application, works as ever."""

    async def raises(scope, receive, send) -> None:
        raise KeyError("boom")

    async def answer(request, exc):
        return JSONResponse({"by": "hand"}, 418)

    bench.app()
    middleware = ExceptionMiddleware(raises, handlers={KeyError: answer})

    async def app(scope, receive, send) -> None:
        await middleware(http_scope("/") | scope | {"app": None}, receive, send)

    assert ask(app).status == 418
    assert bench.accounts.recorder.failed_requests == []
