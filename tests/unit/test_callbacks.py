"""When the user's callbacks are called, how often, and what they leave behind."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import get_current_span
from starlette.background import BackgroundTask

from afterword._ledger import deferred
from afterword._starlette.state import current_request
from tests.support.asgi import ask, websocket
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import cancelled, failed, request_error, skipped, succeeded
from tests.unit.test_generator_exit import here
from tests.unit.test_judgements import HELD, cancelled_while


def alerting(stage: InProcessStage) -> Callable[..., Any]:
    """Make a callback for failed tasks that notes that it is called."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append(f"alert for {run.name}")

    return alert


async def fail_quietly(stage: InProcessStage, name: str = "mail") -> None:
    """Run a task that fails, and go on."""
    with contextlib.suppress(ValueError):
        await BackgroundTask(stage.fails(name))()
    stage.did.append("went on")


# --- when -------------------------------------------------------------------------------------------------------


def test_each_task_that_failed_before_the_response_alerts(stage: InProcessStage):
    """Where an endpoint has awaited several tasks that fail, each of them alerts when the response is out."""

    async def endpoint() -> None:
        await fail_quietly(stage, "mail")
        await fail_quietly(stage, "audit")

    ask(stage.app(endpoint, on_task_failure=[alerting(stage)]))
    assert stage.did == [
        *["mail fails", "went on", "audit fails", "went on"],
        *["alert for shop.mail", "alert for shop.audit"],
    ]


def test_a_task_that_fails_in_a_websocket_alerts_at_once(stage: InProcessStage):
    """A WebSocket has no response to wait for, and may live for hours."""
    app = stage.fastapi()

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await fail_quietly(stage)

    async def listen(say, hear) -> None: ...

    asyncio.run(websocket(stage.instrument(app, on_task_failure=[alerting(stage)]), "/talk", listen))
    assert stage.did == ["mail fails", "alert for shop.mail", "went on"]


class KeepsBack:
    """Sends a response when all of it is there."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        kept: list = []

        async def keep(message) -> None:
            kept.append(message)

        await self.app(scope, receive, keep)
        for message in kept:
            await send(message)


@pytest.mark.parametrize("keeps_back", [False, True], ids=["", "kept back"])
def test_a_task_that_fails_in_a_stream_alerts_at_once(stage: InProcessStage, keeps_back):
    """A response that has begun is not delayed by an alert, also where a middleware keeps it back."""

    async def body():
        yield b"begun"
        await fail_quietly(stage)
        yield b"ended"

    async def endpoint() -> StreamingResponse:
        return StreamingResponse(body())

    app = stage.app(endpoint, on_task_failure=[alerting(stage)])
    if keeps_back:
        app.add_middleware(KeepsBack)
    assert ask(app).body == b"begunended"
    assert stage.did == ["mail fails", "alert for shop.mail", "went on"]


def test_a_task_that_fails_behind_a_middlewares_answer_alerts_at_once(stage: InProcessStage):
    """A task of an endpoint that goes on although a middleware has answered in its place need not wait."""
    answered, beside = asyncio.Event(), []

    class Answers:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            async def lose(message) -> None: ...

            beside.append(asyncio.create_task(self.app(scope, receive, lose)))
            await JSONResponse({}, 202)(scope, receive, send)
            answered.set()
            await beside[0]

    async def endpoint() -> None:
        await answered.wait()
        await fail_quietly(stage)

    app = stage.app(endpoint, on_task_failure=[alerting(stage)])
    app.add_middleware(Answers)
    assert ask(app).status == 202
    assert stage.did == ["mail fails", "alert for shop.mail", "went on"]


# --- cancelled --------------------------------------------------------------------------------------------------


def test_a_callback_that_is_cancelled_lets_the_cancellation_out(stage: InProcessStage):
    """A server that cancels a request while a callback runs is not held up by the next one, which is skipped."""
    waits = asyncio.Event()

    @named("notify")
    async def notify(request, exc) -> None:
        waits.set()
        await asyncio.Event().wait()

    async def endpoint() -> JSONResponse:
        raise KeyError("boom")

    app = stage.app(endpoint, on_request_error=[notify, stage.works("page")])
    app.add_exception_handler(KeyError, lambda request, exc: JSONResponse({}, 500))
    cancelled_while(app, waits)
    assert stage.did == []
    skip = skipped("page", "earlier_task_cancelled")
    stage.assert_story(cancelled("notify"), skip, request_error(500, "KeyError"))


def test_a_callback_that_is_torn_down_skips_the_next(stage: InProcessStage):
    """A callback behind one that raises ``GeneratorExit`` is skipped, as behind one that is cancelled."""

    @named("alert")
    async def alert(run, exc) -> None:
        raise GeneratorExit

    app = stage.app_with(stage.fails("mail"), on_task_failure=[alert, stage.works("page")])
    with pytest.raises(GeneratorExit):
        ask(app)
    deferred.drain()
    stage.assert_story(failed("mail"), cancelled("alert"), skipped("page", "earlier_task_cancelled"))


def test_a_callback_that_ends_the_process_skips_the_next(stage: InProcessStage):
    """A callback behind one that exits is skipped, and its line says for what."""

    @named("alert")
    async def alert(run, exc) -> None:
        raise SystemExit

    app = stage.app_with(stage.fails("mail"), on_task_failure=[alert, stage.works("page")])
    with pytest.raises(SystemExit):
        ask(app)
    deferred.drain()
    stage.assert_story(failed("mail"), failed("alert", "SystemExit"), skipped("page", "earlier_task_failed"))
    [line] = stage.lines("background_task.skipped")
    assert "failed before it with SystemExit" in line["detail"]


# --- what is left behind ----------------------------------------------------------------------------------------


def test_a_worker_finds_everything_as_it_was(stage: InProcessStage):
    """Behind the alert of a task that a worker calls the request, the batch and the span are those of before."""
    found: list = []

    async def endpoint() -> None:
        HELD.append(BackgroundTask(stage.fails("mail")))

    async def work() -> None:
        before = here()
        with contextlib.suppress(ValueError):
            await HELD.pop()()
        found.extend([before, here()])

    app = stage.app(endpoint, on_task_failure=[alerting(stage)])
    with stage.settings["tracer_provider"].get_tracer("shop").start_as_current_span("a request"):
        ask(app)
    asyncio.run(work())
    assert stage.did == ["mail fails", "alert for shop.mail"]
    before, behind = found
    assert behind == before


def test_a_callback_is_in_the_requests_span(stage: InProcessStage):
    """Where contrib traces the calls of tasks, a callback is a child of the request, not of the failed task."""
    app = stage.app_with(stage.fails("mail"), on_task_failure=[alerting(stage)])
    FastAPIInstrumentor.instrument_app(app, tracer_provider=stage.settings["tracer_provider"])
    try:
        assert ask(app).status == 200
    finally:
        FastAPIInstrumentor.uninstrument_app(app)
    mail, alert = stage.accounts.spans.of("mail"), stage.accounts.spans.of("alert")
    assert mail.context.span_id != alert.parent.span_id == mail.parent.span_id
    stage.assert_story(failed("mail"), succeeded("alert"))


@pytest.mark.parametrize("traces", [True, False])
def test_a_callback_leaves_no_span_behind(stage: InProcessStage, traces):
    """What a middleware does behind a callback is in the middleware's own span."""
    tracer = stage.settings["tracer_provider"].get_tracer("shop")
    spans: list = []

    class Traces:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            with tracer.start_as_current_span("a middleware") as span:
                await self.app(scope, receive, send)
                spans.extend([get_current_span(), span])

    async def endpoint() -> None:
        raise KeyError("boom")

    app = stage.app(endpoint, on_request_error=[stage.works("notify")], traces=traces)
    app.add_exception_handler(KeyError, lambda request, exc: JSONResponse({}, 500))
    app.add_middleware(Traces)
    ask(app)
    assert stage.did == ["notify"]
    current, own = spans
    assert current is own


def test_nothing_is_kept_of_a_callback_that_was_skipped(stage: InProcessStage):
    """A connection that lives for hours keeps no callback of it that was not called."""
    kept: list = []
    waits = asyncio.Event()

    @named("alert")
    async def alert(run, exc) -> None:
        waits.set()
        await asyncio.Event().wait()

    app = stage.fastapi()

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        task = asyncio.create_task(BackgroundTask(stage.fails("mail"))())
        await waits.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        deferred.drain()
        kept.extend(current_request().runs)

    async def listen(say, hear) -> None: ...

    stage.instrument(app, on_task_failure=[alert, stage.works("page")])
    asyncio.run(websocket(app, "/talk", listen))
    assert kept == []
    stage.assert_story(failed("mail"), cancelled("alert"), skipped("page", "earlier_task_cancelled"))
