"""The error path: error tasks, alerts and rescued tasks, whatever answers the request."""

import asyncio
import contextlib
import gc
import weakref
from collections import deque

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request

import afterword
from tests.scenarios.test_interference import TimeLimit
from tests.support.asgi import ask, websocket
from tests.support.in_process import InProcessStage
from tests.support.stage import Odd, named
from tests.support.story import dropped, failed, request_error, skipped, succeeded

SILENCE = {"traces": False, "metrics": False, "logs": False}
ERRORS = [HTTPException(404, "no"), HTTPException(503, "later"), KeyError("boom")]


def notifiers(stage: InProcessStage):
    """Make an async and a sync error task that note what they are given."""

    @named("notify")
    async def notify(request, exc) -> None:
        stage.did.append(("notify", request.url.path, type(exc)))

    @named("page")
    def page(request, exc) -> None:
        stage.did.append(("page", request.url.path, type(exc)))

    return [notify, page]


def app_that_raises(stage: InProcessStage, exc: Exception, *, debug: bool = False, rescue=None) -> FastAPI:
    """Make an application whose endpoint schedules tasks, then raises."""
    app = stage.fastapi(debug=debug)

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        if rescue is not None:
            background.add_task(rescue)
        raise exc

    return app


@pytest.mark.parametrize("settings", [{}, SILENCE], ids=["signals", "silence"])
@pytest.mark.parametrize("exc", ERRORS, ids=["4xx", "5xx", "unhandled"])
def test_error_tasks_run_after_the_response(stage: InProcessStage, exc, settings):
    """Every `on_request_error`, sync or async, gets request and exception, also with all signals off."""
    app = stage.instrument(app_that_raises(stage, exc), on_request_error=notifiers(stage), **settings)
    ask(app)
    assert stage.did == [("notify", "/", type(exc)), ("page", "/", type(exc))]
    assert sorted(stage.outcomes) == [("mail", "dropped"), ("notify", "succeeded"), ("page", "succeeded")]


def test_error_tasks_are_part_of_the_account(stage: InProcessStage):
    """Error tasks are tasks like any other, in every signal."""
    app = stage.instrument(app_that_raises(stage, KeyError("boom")), on_request_error=notifiers(stage))
    ask(app)
    stage.assert_story(
        dropped("mail"), succeeded("notify"), succeeded("page"), request_error(500, "KeyError", "/")
    )


def test_error_tasks_come_after_the_response(stage: InProcessStage):
    """The client has the whole response before the first error task begins."""
    sent = []

    async def notify(request, exc) -> None:
        stage.did.append(list(sent))

    async def outer(scope, receive, send) -> None:
        async def watched(message) -> None:
            sent.append(message["type"])
            await send(message)

        await app(scope, receive, watched)

    app = stage.instrument(app_that_raises(stage, HTTPException(404)), on_request_error=[notify])
    ask(outer)
    assert stage.did == [["http.response.start", "http.response.body"]]


def test_error_tasks_are_for_failed_requests(stage: InProcessStage):
    """A request that succeeds, or whose task fails behind the response, calls no `on_request_error`."""
    app = stage.app_with(stage.works("mail"), stage.fails("report"), on_request_error=notifiers(stage))
    ask(app)
    assert stage.did == ["mail", "report fails"]


def test_a_failing_error_task_disturbs_no_other(stage: InProcessStage):
    """The next error task runs although one fails; the client's error stays the one that comes out."""
    notify, page = notifiers(stage)
    app = app_that_raises(stage, KeyError("boom"))
    answer = ask(stage.instrument(app, on_request_error=[stage.fails("first"), notify, page]))
    assert type(answer.error) is KeyError
    assert [did[0] for did in stage.did[1:]] == ["notify", "page"]
    assert ("first", "failed") in stage.outcomes


@pytest.mark.parametrize("settings", [{}, SILENCE], ids=["signals", "silence"])
def test_an_alert_gets_the_run_and_the_exception(stage: InProcessStage, settings):
    """Every `on_task_failure`, sync or async, gets the run and the exception, also with all signals off."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append((run.name, run.outcome, type(exc)))

    @named("call")
    def call(run, exc) -> None:
        stage.did.append((run.name, run.outcome, type(exc)))

    app = stage.app_with(stage.fails("mail"), stage.works("audit"), on_task_failure=[alert, call], **settings)
    ask(app)
    told = ("shop.mail", "failed", ValueError)
    assert stage.did == ["mail fails", told, told]
    names = {name for name, outcome in stage.outcomes if outcome == "succeeded"}
    assert names == {"alert", "call"}


def test_a_failing_alert_raises_no_alert(stage: InProcessStage):
    """An alert that fails is in the account, and alerts nobody."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append(f"alert for {run.name}")
        raise OSError("no network")

    answer = ask(stage.app_with(stage.fails("mail"), on_task_failure=[alert]))
    assert type(answer.error) is ValueError
    assert stage.did == ["mail fails", "alert for shop.mail"]
    assert sorted(stage.outcomes) == [("alert", "failed"), ("mail", "failed")]


def test_an_alert_may_await_what_was_cancelled(stage: InProcessStage):
    """A ``CancelledError`` that an alert raises by itself fails the alert, and the task's error comes out."""

    @named("alert")
    async def alert(run, exc) -> None:
        raise asyncio.CancelledError

    answer = ask(stage.app_with(stage.fails("mail"), on_task_failure=[alert, stage.works("page")]))
    assert type(answer.error) is ValueError
    assert sorted(stage.outcomes) == [("alert", "failed"), ("mail", "failed"), ("page", "succeeded")]


@pytest.mark.parametrize("hook", ["on_task_failure", "on_request_error"])
def test_a_user_s_function_may_raise_anything(stage: InProcessStage, hook):
    """Whatever such a function raises, the next one is called, and the error that it was told of comes out."""

    async def odd(*_) -> None:
        raise Odd

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.fails("mail"))
        if hook == "on_request_error":
            raise KeyError("boom")

    answer = ask(stage.app(endpoint, **{hook: [odd, stage.works("page")]}))
    assert type(answer.error) is (KeyError if hook == "on_request_error" else ValueError)
    assert ("odd", "failed") in stage.outcomes
    assert ("page", "succeeded") in stage.outcomes


def test_a_failing_error_task_raises_no_alert(stage: InProcessStage):
    """An error task that fails is in the account, and alerts nobody."""
    app = app_that_raises(stage, KeyError("boom"))
    alerts = []
    options = {"on_request_error": [stage.fails("notify")], "on_task_failure": [lambda *a: alerts.append(a)]}
    ask(stage.instrument(app, **options))
    assert ("notify", "failed") in stage.outcomes
    assert alerts == []


def test_an_alert_for_a_task_that_nobody_awaits(stage: InProcessStage):
    """A task that returned an un-awaited coroutine has failed, and alerts without an exception."""
    alerts = []

    async def later() -> None:
        raise AssertionError("never called")

    def forgets() -> object:
        coroutine = later()
        stage.did.append(coroutine)
        return coroutine

    ask(stage.app_with(forgets, on_task_failure=[lambda run, exc: alerts.append((run.reason, exc))]))
    stage.did.pop().close()
    assert alerts == [("never_awaited", None)]


@pytest.mark.parametrize("swallow", [True, False])
def test_an_alert_for_a_task_awaited_in_an_endpoint(stage: InProcessStage, swallow):
    """A task that an endpoint awaits itself alerts when the response has gone out."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append("alert")

    async def endpoint() -> dict:
        try:
            await BackgroundTask(stage.fails("mail"))()
        except ValueError:
            stage.did.append("caught")
            if not swallow:
                raise
        return {}

    ask(stage.app(endpoint, on_task_failure=[alert]))
    assert stage.did == ["mail fails", "caught", "alert"]
    errors = [] if swallow else [request_error(500, "ValueError")]
    stage.assert_story(failed("mail"), succeeded("alert"), *errors)


def test_an_alert_does_not_wait_for_what_runs_behind_the_response(stage: InProcessStage):
    """A task that an endpoint awaits alerts before the tasks behind the response, which may take long."""

    @named("alert")
    async def alert(run, exc) -> None:
        stage.did.append("alert")

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("audit"))
        with contextlib.suppress(ValueError):
            await BackgroundTask(stage.fails("mail"))()

    ask(stage.app(endpoint, on_task_failure=[alert]))
    assert stage.did == ["mail fails", "alert", "audit"]


@pytest.mark.slow
def test_a_bounded_number_of_alerts_waits_for_the_response(stage: InProcessStage):
    """A thousand failures inside an endpoint alert a thousand times, and do not hold a thousand exceptions."""
    raised, most, alerted = weakref.WeakSet(), [], []

    class Boom(Exception):
        """One that can be referred to weakly."""

    async def fails() -> None:
        error = Boom()
        raised.add(error)
        raise error

    async def endpoint() -> None:
        for count in range(1000):
            with contextlib.suppress(Boom):
                await BackgroundTask(fails)()
            if count % 50 == 49:
                gc.collect()
                most.append(len(raised))

    stage.accounts.recorder.exceptions = deque(maxlen=0)
    app = stage.app(endpoint, on_task_failure=[lambda run, exc: alerted.append(run.id)], logs=False)
    assert ask(app).status == 200
    assert len(set(alerted)) == len(alerted) == 1000
    assert max(most) < 100


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("settings", [{}, SILENCE], ids=["signals", "silence"])
@pytest.mark.parametrize("exc", ERRORS, ids=["4xx", "5xx", "unhandled"])
def test_a_task_is_rescued(stage: InProcessStage, exc, settings, debug):
    """A task that asks for it runs on the error response; the others are dropped."""
    rescue = afterword.task(run_on_request_error=True)(stage.works("audit"))
    ask(stage.instrument(app_that_raises(stage, exc, debug=debug, rescue=rescue), **settings))
    assert stage.did == ["audit"]
    assert sorted(stage.outcomes) == [("audit", "succeeded"), ("mail", "dropped")]


def test_a_rescued_task_that_fails(stage: InProcessStage):
    """A rescued task may fail as any other; the request's error stays what comes out."""
    rescue = afterword.task(run_on_request_error=True)(stage.fails("audit"))
    answer = ask(stage.instrument(app_that_raises(stage, KeyError("boom"), rescue=rescue)))
    assert type(answer.error) is KeyError
    stage.assert_story(dropped("mail"), failed("audit"), request_error(500, "KeyError"))


def test_a_task_is_not_rescued_twice(stage: InProcessStage):
    """If a task fails, one behind it that asks to run on request errors is skipped: the request did not fail."""
    rescue = afterword.task(run_on_request_error=True)(stage.works("audit"))
    ask(stage.app_with(stage.fails("mail"), rescue))
    stage.assert_story(failed("mail"), skipped("audit"))


def test_the_exception_is_not_kept(stage: InProcessStage):
    """When a request has ended nothing of ours holds its exception."""

    class Boom(Exception):
        """One that can be referred to weakly."""

    held = []

    async def endpoint() -> None:
        error = Boom()
        held.append(weakref.ref(error))
        raise error

    # only the async one: a worker thread may be about to let go of its last arguments
    app = stage.app(endpoint, on_request_error=notifiers(stage)[:1], logs=False)
    assert type(ask(app).error) is Boom
    gc.collect()
    assert held[0]() is None


def test_an_error_task_is_told_what_its_type_says(stage: InProcessStage):
    """A `RequestErrorCallback` gets the connection of a WebSocket, and the cancellation of what took too long."""
    told = []
    app = stage.fastapi()

    @app.websocket("/talk")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        raise KeyError("boom")

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    app.add_middleware(TimeLimit)
    stage.instrument(app, on_request_error=[lambda request, exc: told.append((type(request), type(exc)))])

    async def listen(say, hear) -> None: ...

    with pytest.raises(KeyError, match="boom"):
        asyncio.run(websocket(app, "/talk", listen))
    assert ask(app, "/slow").status == 504
    assert told == [(HTTPConnection, KeyError), (Request, asyncio.CancelledError)]
