"""Calls of an application, one by one: a request, a scrape, a lifespan, and what is none of these."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import BackgroundTasks, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.background import BackgroundTask

from afterword import task
from afterword._common.context import enter_run
from afterword._ledger import deferred
from afterword._ledger.instrumentation import get_instrumentation
from afterword._starlette import asgi, http_route, state
from tests.support.accounts import Recorder
from tests.support.asgi import Answer, ask, call, http_scope
from tests.support.in_process import InProcessStage, scheduling
from tests.support.stage import named
from tests.support.story import ANY, abandoned, cancelled, dropped, failed, request_error, succeeded


async def length_of(request: Request) -> int:
    """Read a body, and return how long it is."""
    return len(await request.body())


def test_an_application_that_is_not_instrumented_reads_its_body(stage: InProcessStage):
    """What a client sends reaches an application beside an instrumented one."""
    stage.app_with(stage.works("mail"))
    foreign = stage.fastapi()
    foreign.post("/")(length_of)
    assert ask(foreign, method="POST", body=b"1234").text == "4"


def test_a_middleware_reads_the_body_of_a_scrape(stage: InProcessStage):
    """A scrape is a request with a body like any other, to whatever is around its route."""
    read: list[Any] = []

    class Reads:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            read.append(await receive())
            await self.app(scope, receive, send)

    app = stage.fastapi()
    app.add_middleware(Reads)
    stage.instrument(app, metrics_path="/numbers")
    assert ask(app, "/numbers", body=b"1234").status == 200
    assert [message["body"] for message in read] == [b"1234"]


def never(scope: Any) -> bool:
    """Give way to no route."""
    return False


@pytest.mark.parametrize(
    ("scope", "is_ours"),
    [
        ({"path": "/metrics"}, True),
        ({"path": "/api/metrics", "root_path": "/api"}, True),
        ({"path": "/metrics", "root_path": "/api"}, True),  # of a proxy that takes the prefix away
        ({"path": "/api/metrics", "root_path": ""}, False),
        ({"path": "/metrics/api", "root_path": "/api"}, False),
        ({"path": "/metrics", "root_path": "/met"}, True),  # of another application, whose name only begins alike
        ({"path": "/metrics/", "root_path": "/metrics"}, False),
        ({"path": "/afterword"}, True),
        ({"path": "/afterword/"}, True),
        ({"path": "/afterword/api/runs"}, True),
        ({"path": "/api/afterword/", "root_path": "/api"}, True),
        ({"path": "/afterwords"}, False),
        ({"path": "/api/afterword/"}, False),
        ({"path": "/afterword/", "type": "websocket"}, False),
    ],
)
def test_our_own_requests_are_known_by_their_path(scope: dict[str, Any], is_ours: bool):
    """The path is the one below the root that the server names, if it names one."""
    instrumentation: Any = SimpleNamespace(
        route=SimpleNamespace(path="/metrics", gives_way=never), console=SimpleNamespace(path="/afterword")
    )
    assert http_route.is_our_own(instrumentation, {"type": "http", **scope}) is is_ours


def test_a_call_of_an_unknown_kind_is_no_request(stage: InProcessStage):
    """What Starlette says to a scope that is neither a request nor a lifespan is said to its caller alone."""
    app = stage.app_with(stage.works("mail"))

    async def visit() -> None:
        await app(http_scope("/") | {"type": "telegram"}, None, None)

    with pytest.raises(AssertionError):
        asyncio.run(visit())
    stage.assert_story()


def test_an_observer_that_joins_late(stage: InProcessStage):
    """An observer that waits for its time is asked at a request, and is told of what comes from then on."""
    app, late, asked = stage.app_with(stage.works("mail")), Recorder(), []
    instrumentation = get_instrumentation(app)
    assert instrumentation is not None

    def is_time() -> bool:
        asked.append(len(asked))
        return len(asked) == 2

    instrumentation.late = late, is_time
    for _ in range(3):
        instrumentation.asks_at = 0.0
        ask(app)
    assert asked == [0, 1]
    assert len(late.ended_runs) == 2


def test_what_is_lost_is_told_before_the_lifespan_ends(stage: InProcessStage):
    """A server may end the process as soon as it hears of the end of a lifespan: all is told by then."""
    kept: list[BackgroundTask] = []
    told: list[Any] = []

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    app = stage.app(endpoint)
    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive() -> dict[str, str]:
        if len(messages) == 1:
            kept.clear()
            gc.collect()
        return {"type": messages.pop(0)}

    async def send(message: dict[str, str]) -> None:
        told.append((message["type"], stage.outcomes))

    async def serve() -> None:
        await call(app)
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    asyncio.run(serve())
    assert told == [
        ("lifespan.startup.complete", []),
        ("lifespan.shutdown.complete", [("mail", "abandoned")]),
    ]
    stage.assert_story(abandoned("mail"))


def test_the_end_of_a_lifespan_waits_for_what_is_cancelled(stage: InProcessStage):
    """A task that is cancelled at shutdown cleans up, and is told, before the server hears that all is over."""
    told: list[Any] = []

    async def serve() -> None:
        at_work, may_end, stopping = asyncio.Event(), asyncio.Event(), False

        @named("mail")
        async def mail() -> None:
            at_work.set()
            try:
                await asyncio.Event().wait()
            finally:
                await may_end.wait()

        serving = asyncio.create_task(call(stage.app_with(mail)))
        await at_work.wait()

        async def receive() -> dict[str, str]:
            nonlocal stopping
            if not stopping:
                stopping = True
                return {"type": "lifespan.startup"}
            serving.cancel()
            asyncio.get_running_loop().call_later(0.2, may_end.set)
            return {"type": "lifespan.shutdown"}

        async def send(message: dict[str, str]) -> None:
            told.append((message["type"], stage.outcomes))

        [app] = stage.instrumented
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(serve())
    assert told[-1] == ("lifespan.shutdown.complete", [("mail", "cancelled")])
    stage.assert_story(cancelled("mail"))


def test_the_end_of_a_lifespan_waits_for_our_tasks_alone():
    """A task of the loop is waited for if a run of its context, or of its request, has not ended."""

    class OfTheLoop:
        """A task of asyncio's, from Python 3.12 on."""

        def __init__(self, context: contextvars.Context) -> None:
            self.get_context = lambda: context

    def concerns_us(request: Any = None, run: Any = None) -> bool:
        context = contextvars.Context()
        if request is not None:
            context.run(state.enter_request, request)
        if run is not None:
            context.run(enter_run, run)
        task: Any = OfTheLoop(context)
        return asgi._concerns_us(task)

    at_work, ended = SimpleNamespace(outcome=None), SimpleNamespace(outcome="succeeded")
    busy, idle = SimpleNamespace(runs={"mail": None}), SimpleNamespace(runs={})
    assert not concerns_us()
    assert not concerns_us(request=idle)
    assert not concerns_us(run=ended)
    assert concerns_us(request=busy)
    assert concerns_us(run=at_work)
    assert concerns_us(request=busy, run=ended)
    assert concerns_us(request=idle, run=at_work)
    before_3_12: Any = object()
    assert asgi._concerns_us(before_3_12)


def test_a_mounted_application_that_is_called_twice(stage: InProcessStage):
    """The second call of a request, too, belongs to the application around it: its error is told once."""
    inner, outer = stage.fastapi(), stage.fastapi()

    @inner.get("/")
    async def endpoint() -> None:
        raise KeyError("boom")

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            with suppress(KeyError):
                await inner(scope, receive, nowhere)
        await inner(scope, receive, send)

    async def nowhere(message: Any) -> None: ...

    outer.mount("/inner", twice)
    stage.instrument(outer)
    stage.instrument(inner)
    assert type(ask(outer, "/inner/").error) is KeyError
    first, second = stage.lines("request.failed")
    assert first["http_route"] == second["http_route"]


def test_an_application_that_is_called_again_with_the_scope_of_a_request_that_is_over(stage: InProcessStage):
    """It is a request like any other, and not part of the one before: its route is known."""
    inner, outer = stage.fastapi(), stage.fastapi()
    inner.get("/items/{item}")(scheduling(stage.works("mail")))
    outer.mount("/{tenant}", inner)
    stage.instrument(outer)

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        before = scope.copy()
        await outer(scope, receive, nowhere)
        await outer(scope | before, receive, send)

    async def nowhere(message: Any) -> None: ...

    assert ask(twice, "/shop/items/7").status == 200
    routes = [run.request.route for run in stage.accounts.recorder.ended_runs]
    assert routes == ["/{tenant}/items/{item}"] * 2


class Stops(Exception):
    """An error of an endpoint, or what its request's callback makes of it."""


@pytest.mark.parametrize("raised", [None, Stops, GeneratorExit, KeyboardInterrupt])
@pytest.mark.parametrize("mounted", [False, True])
def test_a_request_is_left_as_it_was_entered(stage: InProcessStage, mounted: bool, raised: Any):
    """However a request ends, what called the application goes on where it was, and its scope says so."""
    inner = stage.fastapi()
    seen: list[Any] = []

    @inner.get("/")
    async def endpoint() -> None:
        if raised is not None:
            raise Stops

    @named("notify")
    async def notify(request: Any, exc: BaseException) -> None:
        if raised is not Stops:
            raise raised

    async def looks(scope: Any, receive: Any, send: Any) -> None:
        before = scope.get(state.SCOPE_KEY)
        try:
            await inner(scope, receive, send)
        finally:
            seen.append((scope[state.SCOPE_KEY] is before or not mounted, state.current_request() is before))

    app: Any = looks
    if mounted:
        app = stage.fastapi()
        app.mount("/inner", looks)
        stage.instrument(app)
    stage.instrument(inner, on_request_error=[notify])

    async def scenario() -> None:
        answer = Answer()
        with suppress(GeneratorExit, KeyboardInterrupt):
            answer = await call(app, "/inner/" if mounted else "/")
            assert type(answer.error) is (raised or type(None))
        assert raised in (None, Stops) or answer == Answer()
        assert state.current_request() is None

    with suppress(KeyboardInterrupt):
        asyncio.run(scenario())
    deferred.drain()
    assert seen == [(True, True)]
    stage.assert_story(*ENDS[raised])


ENDS: dict[Any, list[Any]] = {
    None: [],
    Stops: [request_error(500, f"{__name__}.Stops", ANY), succeeded("notify")],
    GeneratorExit: [request_error(500, f"{__name__}.Stops", ANY), cancelled("notify")],
    KeyboardInterrupt: [request_error(500, f"{__name__}.Stops", ANY), cancelled("notify")],
}


def test_a_response_that_breaks_off(stage: InProcessStage):
    """A response that began and was not completed is why its task never ran: of a first request, and of others."""

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise LookupError

    async def endpoint() -> StreamingResponse:
        return StreamingResponse(body(), background=BackgroundTask(stage.works("mail")))

    app = stage.app(endpoint, traces=False)  # where nothing lies around, it is watched only on its way out
    ask(app)
    ask(app)
    details = [run.detail or "" for run in stage.accounts.recorder.ended_runs]
    assert [detail.partition(" with ")[0] for detail in details] == ["the response broke off"] * 2


@pytest.mark.parametrize("mounted", [False, True])
def test_a_middleware_that_answers_first(stage: InProcessStage, mounted: bool):
    """What a middleware sends is no response of the application: an error comes before that."""
    at_work, answered = asyncio.Event(), asyncio.Event()

    class AnswersFirst:
        """Answers at once, and lets the application work on what nobody waits for."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def nowhere(message: Any) -> None: ...

            working = asyncio.create_task(self.app(scope, receive, nowhere))
            await at_work.wait()
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            answered.set()
            with suppress(LookupError):
                await working

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        at_work.set()
        await answered.wait()
        raise LookupError("boom")

    inner = stage.fastapi()
    inner.get("/")(endpoint)
    inner.add_middleware(AnswersFirst)
    app = inner
    if mounted:
        app = stage.fastapi()
        app.mount("/inner", inner)
        stage.instrument(app)
    stage.instrument(inner)
    assert ask(app, "/inner/" if mounted else "/").status == 202
    detail = stage.accounts.recorder.run("mail").detail
    assert detail is not None
    assert "so the response that would run the task was never built" in detail


def test_a_marked_task_of_what_goes_on_behind_an_error_runs_once(stage: InProcessStage):
    """A middleware raises while its application works: what is scheduled in there runs there."""
    at_work, answered, working = asyncio.Event(), asyncio.Event(), []
    audit = task(run_on_request_error=True)(stage.works("audit"))

    class Raises:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def nowhere(message: Any) -> None: ...

            working.append(asyncio.create_task(self.app(scope, receive, nowhere)))
            await at_work.wait()
            raise LookupError("boom")

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(audit)
        at_work.set()
        await answered.wait()

    app = stage.fastapi()
    app.get("/")(endpoint)
    app.add_middleware(Raises)
    app.add_exception_handler(Exception, lambda request, exc: PlainTextResponse("no", 500))
    stage.instrument(app)

    async def scenario() -> None:
        assert (await call(app)).status == 500
        assert stage.did == []
        answered.set()
        await working[0]

    asyncio.run(scenario())
    assert stage.did == ["audit"]
    stage.assert_story(succeeded("audit"), request_error(500, "LookupError", ANY))


def visited(app: Any, sent: list[str], gone: type[Exception] | None = None) -> BaseException | None:
    """Open a WebSocket that is gone when something is sent to it, perhaps; return what comes out."""

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if gone is not None and message["type"] == "websocket.send":
            raise gone

    async def visit() -> None:
        await app(http_scope("/ws") | {"type": "websocket", "scheme": "ws", "subprotocols": []}, receive, send)

    try:
        asyncio.run(visit())
    except Exception as exc:
        return exc
    return None


def test_a_task_behind_the_refusal_of_a_websocket(stage: InProcessStage):
    """A middleware has refused a WebSocket with a response: what its task raises is no error of the request."""

    class Refuses:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
            await BackgroundTask(stage.fails("mail"))()

    app = stage.fastapi()
    app.add_middleware(Refuses)
    stage.instrument(app)
    assert type(visited(app, [])) is ValueError
    stage.assert_story(failed("mail"))


class Denies:
    """Answers a WebSocket with a 503 where the application raises."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except LookupError:
            await send({"type": "websocket.http.response.start", "status": 503, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})


class Closes:
    """Closes a WebSocket instead of what it is denied with, for a server that knows no other way."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def without(message: Any) -> None:
            if message["type"] == "websocket.http.response.start":
                await send({"type": "websocket.close", "code": 1008})
            elif message["type"] != "websocket.http.response.body":
                await send(message)

        await self.app(scope, receive, without)


@pytest.mark.parametrize(("middleware", "status"), [(Denies, 503), (Closes, 418)])
def test_the_status_of_a_denied_websocket(stage: InProcessStage, middleware: Any, status: int):
    """A WebSocket that was denied is told with the status it was denied with, or that a handler meant it to be."""
    app = stage.fastapi()

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        raise LookupError("boom")

    if middleware is Closes:
        app.add_exception_handler(LookupError, lambda socket, exc: PlainTextResponse("no", status))
    app.add_middleware(middleware)
    visited(stage.instrument(app), [])
    assert [line["http_status"] for line in stage.lines("request.failed")] == [status]


def test_a_task_that_a_websocket_awaits(stage: InProcessStage):
    """What an endpoint of a WebSocket awaits and does not catch is an error of its request."""
    app = stage.fastapi()

    @app.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await BackgroundTask(stage.fails("mail"))()

    assert type(visited(stage.instrument(app), [])) is ValueError
    assert len(stage.lines("request.failed")) == 1


def test_a_websocket_whose_client_is_gone(stage: InProcessStage):
    """What the server raises because nobody listens is no error: the task is dropped, and nothing is reported."""
    app = stage.fastapi()

    @app.websocket("/ws")
    async def talk(socket: WebSocket, tasks: BackgroundTasks) -> None:
        await socket.accept()
        tasks.add_task(stage.works("mail"))
        with pytest.raises((OSError, WebSocketDisconnect)) as caught:
            await socket.send_text("hello")
        raise caught.value.__context__ or caught.value  # what an older Starlette lets through

    visited(stage.instrument(app), [], gone=OSError)
    stage.assert_story(dropped("mail", "client_disconnected"))
