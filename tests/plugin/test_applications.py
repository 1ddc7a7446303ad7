"""Which applications an account sees, and that it leaves them as they were."""

import asyncio
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

with warnings.catch_warnings():  # the newest Starlette would rather have another httpx
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

import afterword
from afterword import testing
from afterword._ledger import instrumentation as accounts
from afterword._ledger import runs as ledger
from afterword._setup import instrument as wiring
from afterword._starlette import patches
from afterword._starlette.patches import hooks
from afterword.instrumentor import BackgroundTaskInstrumentor
from tests.support.asgi import ask, websocket
from tests.support.in_process import SILENT, InProcessStage, plain_app
from tests.support.originals import assert_originals_are_back
from tests.support.server import Server


def unaware(stage: InProcessStage, **options: Any) -> FastAPI:
    """Make an application that has never heard of us, with one task."""
    app = FastAPI(**(SILENT | options))

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))

    return app


def instrument_all(stage: InProcessStage, instrumentor: BackgroundTaskInstrumentor) -> None:
    """Let the instrumentor see every application."""
    instrumentor.instrument(observers=[stage.accounts.recorder], **stage.settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx")
@pytest.mark.parametrize("aware", [True, False], ids=["instrumented", "unaware"])
def test_by_test_client(stage: InProcessStage, opened: testing.Account, aware: bool):
    """Starlette's `TestClient`, with and without the lifespan, runs tasks that are accounted for."""
    app = unaware(stage)
    if aware:
        stage.instrument(app)
    assert TestClient(app).get("/").status_code == 200
    with TestClient(app) as client:
        client.get("/")
    opened.assert_all_succeeded(timeout=0)
    assert opened["mail"].succeeded == 2


@pytest.mark.parametrize("aware", [True, False], ids=["instrumented", "unaware"])
def test_by_transport(stage: InProcessStage, opened: testing.Account, aware: bool):
    """`httpx.ASGITransport` on the event loop of the test runs tasks that are accounted for."""
    app = unaware(stage)
    if aware:
        stage.instrument(app)

    async def play() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await client.get("/")
            opened.assert_all_succeeded(timeout=0)

    asyncio.run(play())
    assert opened["mail"].succeeded == 1


@pytest.mark.parametrize("aware", [True, False], ids=["instrumented", "unaware"])
def test_by_a_server_that_was_there_before(stage: InProcessStage, aware: bool):
    """Each test sees what it schedules on a live server that serves all of them."""
    app = unaware(stage)
    if aware:
        stage.instrument(app)
    with Server(app) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        for times in (1, 2):
            with testing.account() as account:
                for _ in range(times):
                    client.get("/")
                account.assert_all_succeeded(timeout=15)
                assert account["mail"].succeeded == times
            client.get("/")
        # the request that nobody watched may go on for a moment
    assert aware or accounts.get_instrumentation(app) is None


def test_several_first_callers(stage: InProcessStage, opened: testing.Account, monkeypatch: pytest.MonkeyPatch):
    """Clients in two threads that are both the first to call an application are both in the account."""
    app, apply, both = unaware(stage), wiring.apply, threading.Barrier(2, timeout=0.3)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):  # one of them may not come here at all
            both.wait()

    def apply_at_once(*arguments: Any, **options: Any) -> Any:
        meet()
        account = apply(*arguments, **options)
        meet()
        return account

    monkeypatch.setattr(wiring, "apply", apply_at_once)
    clients = [threading.Thread(target=ask, args=(app,)) for _ in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert opened["mail"].succeeded == 2


def test_opened_while_a_server_is_still_at_the_last_test(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """A request that outlives its test and takes the hooks out with it does not take those of the next test."""
    has_open_runs, is_open, is_over, told = ledger.has_open_runs, threading.Event(), threading.Event(), []

    def open_the_next() -> None:
        with testing.account() as account:
            is_open.set()
            is_over.wait(30)
            ask(unaware(stage))
            told.append(account.succeeded)

    next_test = threading.Thread(target=open_the_next)

    def nothing_is_open() -> bool:
        if next_test.ident is None:
            next_test.start()
            is_open.wait(0.3)  # it comes between this question and what follows from the answer, if it can
        return has_open_runs()

    with testing.account():
        ask(unaware(stage))
        monkeypatch.setattr(patches, "has_open_runs", nothing_is_open)
    is_over.set()
    next_test.join(30)
    assert told == [1]


def test_starlette_mounted_and_several(stage: InProcessStage, opened: testing.Account):
    """Applications of Starlette, applications mounted in another, and several side by side are one account."""

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("yes", background=BackgroundTask(stage.works("audit")))

    outer = unaware(stage)
    outer.mount("/sub", plain_app("/inner", endpoint))
    ask(outer)
    ask(outer, "/sub/inner")
    ask(plain_app("/", endpoint))
    assert [(run.name, run.request.route) for run in opened.runs] == [
        ("shop.mail", "/"),
        ("shop.audit", "/sub/inner"),
        ("shop.audit", "/"),
    ]


def test_a_websocket(stage: InProcessStage, opened: testing.Account):
    """Tasks that FastAPI never runs, since they were injected into a WebSocket, are in the account."""
    app = stage.fastapi()

    @app.websocket("/talk")
    async def talk(socket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        await socket.accept()
        await socket.receive_text()

    async def conversation(say: Callable[[str], Any], hear: Callable[[], Any]) -> None:
        await say("hello")

    asyncio.run(websocket(app, "/talk", conversation))
    assert opened["mail"].abandoned == 1
    with pytest.raises(AssertionError, match="FastAPI runs no background tasks behind a WebSocket"):
        opened.assert_all_ran()


def test_an_unaware_application_is_told_nothing(stage: InProcessStage, opened: testing.Account):
    """An application that did not ask has no /metrics, no spans, no numbers and no log lines of ours."""
    app = stage.native()
    routes = list(app.router.routes)

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.fails("mail"))

    ask(app)
    assert opened["mail"].failed == 1
    assert app.router.routes[:-1] == routes
    assert ask(app, "/metrics").status == 404
    assert not stage.accounts.spans.of_runs()
    assert not stage.accounts.lines.story().ended
    assert stage.sample("background_task_scheduled_total", background_task_name="shop.mail") is None


def test_everything_is_as_before(stage: InProcessStage):
    """After the context the classes have their own methods, and the applications nothing of ours."""
    app = unaware(stage)
    ask(app)
    before = dict(app.__dict__)
    with testing.account():
        ask(app)
        assert accounts.get_instrumentation(app) is not None
    assert app.__dict__ == before
    assert not hooks.first_calls
    assert not accounts._watchers
    assert_originals_are_back()


def test_everything_is_as_before_a_failed_test(stage: InProcessStage):
    """Also if the test fails inside the context."""
    app = unaware(stage)

    def fail() -> None:
        with testing.account():
            ask(app)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert accounts.get_instrumentation(app) is None
    assert_originals_are_back()


def test_an_instrumented_application_keeps_its_settings(stage: InProcessStage):
    """An application that calls `instrument` tells its signals as ever, and its observers are those it named."""
    app = unaware(stage)
    stage.instrument(app)
    its_own = accounts.get_instrumentation(app)
    observers = its_own.ledger.observers
    with testing.account() as account:
        ask(app)
        assert accounts.get_instrumentation(app) is its_own
    assert accounts.get_instrumentation(app) is its_own
    assert its_own.ledger.observers == observers
    assert account["mail"].succeeded == 1
    assert stage.outcomes == [("mail", "succeeded")]
    assert "background_task_ended_total" in ask(app, "/metrics").text


def test_an_application_that_is_instrumented_during_the_test(stage: InProcessStage, opened: testing.Account):
    """An application that calls `instrument` after its first call, in its lifespan say, has what it asked for."""
    app = unaware(stage)
    ask(app)
    stage.instrument(app)
    ask(app)
    assert opened["mail"].succeeded == 2
    assert stage.outcomes == [("mail", "succeeded")]


def test_instrumented_during_the_test_is_instrumented_afterwards(stage: InProcessStage):
    """What an application asked for during the test stays, whatever it asked for."""
    app = unaware(stage)
    with testing.account() as account:
        ask(app)
        afterword.instrument(app, traces=False, metrics=False, logs=False, registry=None, metrics_path=None)
        its_own = accounts.get_instrumentation(app)
        ask(app)
    assert accounts.get_instrumentation(app) is its_own
    assert account["mail"].succeeded == 2
    afterword.uninstrument(app)


@pytest.mark.parametrize("first", ["instrumentor", "account"])
def test_beside_the_instrumentor(stage: InProcessStage, instrumentor: BackgroundTaskInstrumentor, first: str):
    """Under zero-code instrumentation an application has its signals, whichever of the two came first."""
    app = unaware(stage)
    if first == "instrumentor":
        instrument_all(stage, instrumentor)
    with testing.account() as account:
        if first == "account":
            instrument_all(stage, instrumentor)
        ask(app)
    assert account["mail"].succeeded == 1
    assert stage.outcomes == [("mail", "succeeded")]
    assert "background_task_ended_total" in ask(app, "/metrics").text
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")] * 2
    afterword.uninstrument(app)


def test_an_application_that_was_taken_out(stage: InProcessStage, instrumentor: BackgroundTaskInstrumentor):
    """An application that took Afterword out again stays without its signals, but the test sees it."""
    instrument_all(stage, instrumentor)
    app = unaware(stage)
    ask(app)
    afterword.uninstrument(app)
    with testing.account() as account:
        ask(app)
    assert account["mail"].succeeded == 1
    assert stage.outcomes == [("mail", "succeeded")]


def test_two_instrumentors_do_not_end_each_other(stage: InProcessStage, instrumentor: BackgroundTaskInstrumentor):
    """The instrumentor goes on seeing applications after a test, and a test after the instrumentor has gone."""
    instrument_all(stage, instrumentor)
    with testing.account() as account:
        instrumentor.uninstrument()
        ask(unaware(stage))
        assert account["mail"].succeeded == 1
        assert stage.outcomes == []
        instrument_all(stage, instrumentor)
    app = unaware(stage)
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    afterword.uninstrument(app)


@pytest.mark.parametrize("fault", [ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.faults
def test_an_application_that_cannot_be_seen(
    fault: type[BaseException],
    stage: InProcessStage,
    opened: testing.Account,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """A fault of ours is logged; the application answers as if the account were not there."""

    def broken(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(wiring, "apply", broken)
    assert ask(unaware(stage)).status == 200
    assert opened.scheduled == 0
    assert "the test does not see FastAPI" in caplog.text


def test_a_version_that_cannot_be_observed(monkeypatch: pytest.MonkeyPatch):
    """Where no task can be seen, the test does not pass for want of tasks: the account cannot be opened."""
    monkeypatch.setattr(hooks, "is_compatible", lambda: False)
    with pytest.raises(RuntimeError, match="cannot observe this version"), testing.account():
        raise AssertionError("opened")
    assert not accounts._watchers


def test_the_answers_are_the_same(stage: InProcessStage):
    """An application answers to the byte what it answers without the account, errors included."""

    def build() -> Starlette:
        app = unaware(stage)

        @app.get("/{number}")
        async def broken(number: int, tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("audit"))
            raise KeyError(number)

        return app

    def answers() -> list[Any]:
        app = build()
        told = [ask(app, path) for path in ("/", "/7", "/x", "/a/b")]
        return [(answer.messages, repr(answer.error)) for answer in told]

    bare = answers()
    with testing.account() as account:
        assert answers() == bare
    assert account["audit"].dropped == 1
