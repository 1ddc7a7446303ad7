"""What is judged anew, and what is remembered: second attempts, second errors, a request that is cancelled."""

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest
import structlog
from fastapi import BackgroundTasks, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from afterword._ledger import deferred as lifetimes
from tests.support.asgi import ask, call, websocket
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import abandoned, dropped, failed, request_error, skipped, succeeded


class RetryUnsent:
    """Keeps an answer back, and calls the application once more where it was an error or broke off."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        kept: list = []

        async def keep(message) -> None:
            kept.append(message)

        with suppress(LookupError, ExceptionGroup):  # of a group, on an older Starlette
            await self.app(dict(scope), receive, keep)
        if not kept or kept[0]["status"] == 503 or kept[-1].get("more_body"):
            kept.clear()
            await self.app(scope, receive, keep)
        for message in kept:
            await send(message)


def retried(stage: InProcessStage, first, second, **options) -> FastAPI:
    """Make an application whose endpoint does one thing, and another when it is tried again."""
    app = stage.fastapi()
    app.add_middleware(RetryUnsent)
    attempts = [first, second]

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks):
        return await attempts.pop(0)(tasks)

    return stage.instrument(app, **options)


async def unavailable(tasks: BackgroundTasks) -> JSONResponse:
    """Answer that the client should come back."""
    return JSONResponse({}, 503)


async def broken_off(tasks: BackgroundTasks) -> StreamingResponse:
    """Begin an answer, and break off."""

    async def body():
        yield b"begun"
        raise LookupError

    return StreamingResponse(body())


async def handled(tasks: BackgroundTasks) -> None:
    """Raise what a handler answers."""
    raise KeyError


@pytest.mark.parametrize("first", [unavailable, broken_off, handled])
def test_a_second_attempt_has_not_begun_to_answer(stage: InProcessStage, first):
    """An alert of a task that a second attempt awaits comes after the response, as in a first one."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append("alert")

    async def second(tasks: BackgroundTasks) -> dict:
        with suppress(ValueError):
            await BackgroundTask(stage.fails("mail"))()
        stage.did.append("caught")
        return {}

    app = retried(stage, first, second, on_task_failure=[alert])
    app.add_exception_handler(KeyError, lambda request, exc: JSONResponse({}, 503))
    assert ask(app).status == 200
    assert stage.did == ["mail fails", "caught", "alert"]


def test_a_second_attempt_may_fail_by_a_task(stage: InProcessStage):
    """A task that fails in a second attempt fails its request, although the first one was answered to its end."""

    async def second(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("audit"))
        await BackgroundTask(stage.fails("mail"))()

    ask(retried(stage, unavailable, second))
    stage.assert_story(failed("mail"), dropped("audit"), request_error(500, "ValueError"))


def test_a_second_attempt_may_be_answered_with_a_redirect(stage: InProcessStage):
    """An error that is answered with a redirect is no failed request, in a second attempt either."""

    async def second(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise KeyError("elsewhere")

    app = retried(stage, unavailable, second)
    app.add_exception_handler(KeyError, lambda request, exc: RedirectResponse("/login"))
    assert ask(app).status == 307
    stage.assert_story(dropped("mail"))


def test_what_failed_in_a_first_attempt_does_not_excuse_the_second(stage: InProcessStage):
    """A task that fails behind a first answer is not taken for the cause of what a second attempt raises."""

    async def first(tasks: BackgroundTasks) -> JSONResponse:
        return JSONResponse({}, 503, background=BackgroundTask(stage.fails("mail", LookupError("no mail"))))

    async def second(tasks: BackgroundTasks) -> None:
        raise KeyError("boom")

    ask(retried(stage, first, second))
    stage.assert_story(failed("mail", "LookupError"), request_error(500, "KeyError"))


def test_a_task_that_ran_after_all_keeps_no_exception(stage: InProcessStage):
    """A task that an error doomed, and that somebody runs all the same, does not keep the error alive."""

    class Boom(Exception):
        """One that can be referred to weakly."""

    kept: list[BackgroundTask] = []
    errors: list[weakref.ref[Boom]] = []

    class RunsItAnyway:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)
            await kept[0]()

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))
        error = Boom()
        errors.append(weakref.ref(error))
        raise error

    async def handler(request, exc) -> JSONResponse:
        return JSONResponse({}, 500)

    app = stage.app(endpoint, logs=False)
    app.add_exception_handler(Boom, handler)
    app.add_middleware(RunsItAnyway)
    ask(app)
    gc.collect()
    assert stage.outcomes == [("mail", "succeeded")]
    assert errors[0]() is None


def test_an_error_task_that_fails_does_not_hide_the_next_error(stage: InProcessStage):
    """What a middleware raises after a failed error task is reported as what it is: the request's next error."""

    class RaisesAfterwards:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)
            raise RuntimeError("the session could not be closed")

    async def endpoint() -> None:
        raise KeyError("boom")

    app = stage.app(endpoint, on_request_error=[stage.fails("notify")])
    app.add_exception_handler(KeyError, lambda request, exc: JSONResponse({}, 500))
    app.add_middleware(RaisesAfterwards)
    assert type(ask(app).error) is RuntimeError
    told = [(line["error_type"], line["http_status"]) for line in stage.lines("request.failed")]
    assert told == [("KeyError", 500), ("RuntimeError", 500)]


def test_a_member_put_in_by_hand_stops_what_is_added_later(stage: InProcessStage):
    """A task that was appended to a batch's list is a member: when it fails, what is added later is skipped."""
    kept: list[BackgroundTasks] = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.tasks.append(BackgroundTask(stage.fails("mail")))
        kept.append(tasks)

    ask(stage.app(endpoint, logs=False))
    stage.accounts.recorder.exceptions.clear()  # their frames, and the batch with them
    kept[0].add_task(stage.works("audit"))
    kept.clear()
    gc.collect()
    lifetimes.drain()
    assert [(run.name, run.reason) for run in stage.ended] == [
        ("mail", "exception"),
        ("audit", "earlier_task_failed"),
    ]


def cancelled_while(app: FastAPI, waits: asyncio.Event) -> None:
    """Cancel a request as a server does at the end of its grace, when it has come to a certain point."""

    async def scenario() -> None:
        request = asyncio.create_task(call(app))
        await waits.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(scenario())


def test_a_cancelled_request_has_not_failed(stage: InProcessStage):
    """A request that is cancelled before its answer is no failed request; its tasks are dropped."""
    waits = asyncio.Event()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        waits.set()
        await asyncio.Event().wait()

    cancelled_while(stage.app(endpoint, on_request_error=[stage.works("notify")]), waits)
    stage.assert_story(dropped("mail"))


def test_a_cancelled_second_attempt_has_not_failed(stage: InProcessStage):
    """The answer of a first attempt that nobody got does not make a failed request of a cancelled second one."""
    waits = asyncio.Event()

    async def second(tasks: BackgroundTasks) -> None:
        waits.set()
        await asyncio.Event().wait()

    cancelled_while(retried(stage, unavailable, second), waits)
    stage.assert_story()


def test_nobody_is_called_while_a_request_is_cancelled(stage: InProcessStage):
    """A cancellation is not held up by `on_request_error`; the error from before it is told all the same."""
    waits = asyncio.Event()

    class TakesItsTime:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            try:
                await self.app(scope, receive, send)
            except KeyError:
                waits.set()
                await asyncio.Event().wait()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise KeyError("boom")

    app = stage.app(endpoint, on_request_error=[stage.works("notify")])
    app.add_middleware(TakesItsTime)
    cancelled_while(app, waits)
    assert stage.did == []
    stage.assert_story(dropped("mail"), request_error(500, "KeyError"))


def test_a_shared_batch_inside_another_is_planned_once(stage: InProcessStage):
    """A batch of a module that is added to those of requests runs each time, and leaves no run over."""
    shared = BackgroundTasks()
    shared.add_task(stage.works("mail"))
    shared.add_task(stage.works_in_thread("audit"))

    async def endpoint(tasks: BackgroundTasks) -> None:
        inner = BackgroundTasks()
        inner.add_task(shared)
        tasks.add_task(stage.works("report"))
        tasks.add_task(inner)

    app = stage.app(endpoint)
    for _ in range(2):
        ask(app)
    assert stage.did == ["report", "mail", "audit"] * 2
    stage.assert_story(*[succeeded("report"), succeeded("mail"), succeeded("audit")] * 2)


def test_a_lost_task_of_a_living_websocket_is_told(stage: InProcessStage):
    """What nothing will call is told while the connection lives, not hours later when it ends."""
    told: list = []
    app = stage.fastapi()

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        BackgroundTasks().add_task(stage.works("mail"))
        gc.collect()
        await socket.send_text("forgotten")
        with suppress(WebSocketDisconnect):
            await socket.receive_text()

    async def look(say, hear) -> None:
        await hear()
        lifetimes.drain()
        told.extend(stage.outcomes)

    asyncio.run(websocket(stage.instrument(app), "/talk", look))
    assert told == [("mail", "abandoned")]


def test_a_lost_task_is_told_before_the_next_one_runs(stage: InProcessStage):
    """What a task has made and lost is told when that task ends, not when the request does."""
    told: list = []

    @named("mail")
    async def mail() -> None:
        BackgroundTask(stage.works("lost"))

    @named("audit")
    async def audit() -> None:
        told.extend(stage.outcomes)

    ask(stage.app_with(mail, audit))
    assert ("lost", "abandoned") in told


@pytest.mark.parametrize("kind", [KeyError, Exception], ids=["inside", "outermost"])
@pytest.mark.parametrize("its_own", ["works", "fails"])
def test_an_error_task_gets_the_request_that_the_handler_got(stage: InProcessStage, its_own: str, kind):
    """What a handler has read or noted on its request is there in `on_request_error`, whatever its task does."""
    seen: list = []

    async def endpoint() -> None:
        raise KeyError("boom")

    def handler(request, exc) -> JSONResponse:
        seen.append(request)
        return JSONResponse({}, 500, background=BackgroundTask(getattr(stage, its_own)("mail")))

    app = stage.app(endpoint, on_request_error=[lambda request, exc: seen.append(request)])
    app.add_exception_handler(kind, handler)
    ask(app)
    first, second = seen
    assert first is second


def test_a_batch_that_a_task_runs_by_hand_skips_its_rest_each_time(stage: InProcessStage):
    """A batch of a module that a task calls itself is accounted for whole, also when it is called again."""
    shared = BackgroundTasks()
    shared.add_task(stage.fails("mail"))
    shared.add_task(stage.works("audit"))

    @named("report")
    async def report() -> None:
        with suppress(ValueError):
            await shared()

    app = stage.app_with(report)
    for _ in range(2):
        ask(app)
    stage.assert_story(*[failed("mail"), skipped("audit"), succeeded("report")] * 2)
    skips = stage.lines("background_task.skipped")
    assert all(line["detail"].startswith("shop.mail failed before it") for line in skips)


def test_a_task_that_is_torn_down_is_told_as_any_other(stage: InProcessStage, caplog):
    """Its line has what the endpoint bound, the skipped one names it, and no context is mixed up with another."""

    @named("mail")
    async def mail() -> None:
        raise GeneratorExit

    async def endpoint(tasks: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(user="ada")
        tasks.add_task(mail)
        tasks.add_task(stage.works("audit"))

    with pytest.raises(GeneratorExit):
        ask(stage.app(endpoint))
    lifetimes.drain()
    assert stage.outcomes == [("mail", "cancelled"), ("audit", "skipped")]
    [line] = stage.lines("background_task.cancelled")
    assert line["user"] == "ada"
    [line] = stage.lines("background_task.skipped")
    assert line["detail"].startswith("shop.mail was cancelled before it")
    assert caplog.records == []


def test_a_member_that_is_no_task_stops_its_batch(stage: InProcessStage):
    """What a member raises that has no run of its own is why the rest is skipped: an error, not a shutdown."""

    class InItsOwnWay(BackgroundTask):
        async def __call__(self) -> None:
            raise LookupError("no run of mine")

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.tasks.append(InItsOwnWay(print))
        tasks.add_task(stage.works("audit"))

    ask(stage.app(endpoint))
    assert stage.outcomes == [("audit", "skipped")]
    [line] = stage.lines("background_task.skipped")
    assert "an earlier member of its batch failed before it with LookupError" in line["detail"]


@pytest.mark.parametrize("torn_down", [False, True], ids=["cancelled", "torn down"])
def test_a_member_that_is_no_task_is_cancelled(stage: InProcessStage, torn_down):
    """What is behind a member without a run that was cancelled was skipped for that, and not for an error."""
    waits = asyncio.Event()

    class InItsOwnWay(BackgroundTask):
        async def __call__(self) -> None:
            if torn_down:
                raise GeneratorExit
            waits.set()
            await asyncio.Event().wait()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.tasks.append(InItsOwnWay(print))
        tasks.add_task(stage.works("audit"))

    app = stage.app(endpoint)
    if torn_down:
        with pytest.raises(GeneratorExit):
            ask(app)
        lifetimes.drain()
    else:
        cancelled_while(app, waits)
    stage.assert_story(skipped("audit", "earlier_task_cancelled"))


HELD: list[BackgroundTask] = []
"""A queue of a worker's, which nothing of a request leads to."""


def test_a_task_that_is_let_go_late_was_lost_with_its_client(stage: InProcessStage):
    """A task whose client went away is dropped for that, also when its maker lets go of it after the request."""

    async def endpoint() -> None:
        HELD.append(BackgroundTask(stage.works("mail")))
        raise ClientDisconnect

    ask(stage.app(endpoint))
    assert stage.ended == []
    HELD.clear()
    gc.collect()
    lifetimes.drain()
    assert [(run.outcome, run.reason) for run in stage.ended] == [("dropped", "client_disconnected")]


def test_an_alert_for_a_task_that_a_worker_calls(stage: InProcessStage):
    """A task that fails outside of any request alerts at once, and its error comes out as it was raised."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append((run.name, type(exc)))

    async def endpoint() -> None:
        HELD.append(BackgroundTask(stage.fails("mail")))

    async def work() -> None:
        await HELD.pop()()

    ask(stage.app(endpoint, on_task_failure=[alert]))
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(work())
    assert stage.did == ["mail fails", ("shop.mail", ValueError)]
    assert stage.observer_errors("afterword") is None


def test_a_response_s_own_background_replaces_the_injected_tasks(stage: InProcessStage):
    """The injected tasks of a response with a background of its own are abandoned for that."""

    async def endpoint(tasks: BackgroundTasks) -> JSONResponse:
        tasks.add_task(stage.works("mail"))
        return JSONResponse({}, background=BackgroundTask(stage.works("audit")))

    ask(stage.app(endpoint))
    stage.assert_story(succeeded("audit"), abandoned("mail", "response_replaced"))
