"""The end of a request: what is told of it, also when it goes on behind its answer, and what is kept of it."""

import asyncio
import contextlib
import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator

import pytest
from fastapi import BackgroundTasks, Request
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from afterword._ledger import deferred
from afterword._starlette.state import current_request
from tests.support.asgi import ask, call, http_scope
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import ANY, abandoned, request_error, succeeded
from tests.unit.test_judgements import HELD, cancelled_while

# --- a request that goes on when it was answered ----------------------------------------------------------------


class Answers:
    """Answers in its endpoint's place, with a status, and lets it go on until it is cancelled or ends."""

    def __init__(self, app, status: int, cancels: bool = False) -> None:
        self.app = app
        self.status = status
        self.cancels = cancels

    async def __call__(self, scope, receive, send) -> None:
        async def lose(message) -> None: ...

        going_on = asyncio.create_task(self.app(scope, receive, lose))
        await asyncio.sleep(0)
        await JSONResponse({}, self.status)(scope, receive, send)
        if self.cancels:
            going_on.cancel()
        BESIDE.append(going_on)


BESIDE: list[asyncio.Task] = []


def ask_and_wait(app) -> None:
    """Send one request, and wait until its endpoint has come to its end, too."""

    async def scenario() -> None:
        await call(app)
        with contextlib.suppress(asyncio.CancelledError, LookupError):
            await BESIDE.pop()

    asyncio.run(scenario())


def test_a_lost_task_of_an_endpoint_that_goes_on(stage: InProcessStage):
    """What an endpoint forgets behind a middleware's answer is abandoned when it has ended itself."""

    async def endpoint() -> None:
        await asyncio.sleep(0.01)
        BackgroundTask(stage.works("mail"))
        deferred.drain()
        assert stage.outcomes == []

    app = stage.app(endpoint)
    app.add_middleware(Answers, status=202)
    ask_and_wait(app)
    stage.assert_story(abandoned("mail"))


def test_a_task_of_a_request_without_a_route_that_is_called_when_it_is_over(stage: InProcessStage):
    """What a middleware has kept of a 404 runs behind its end, again and again, as what any other has kept."""
    kept: list[BackgroundTask] = []

    class Keeps:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            kept.append(BackgroundTask(stage.works("mail")))
            await self.app(scope, receive, send)

    async def calls() -> None:
        await kept[0]()
        await kept[0]()

    app = stage.app()
    app.add_middleware(Keeps)
    assert ask(app, "/missing").status == 404
    asyncio.run(calls())
    stage.assert_story(succeeded("mail"), succeeded("mail"), request_error(404, ANY, route=""))
    assert [run.request.route for run in stage.accounts.recorder.ended_runs] == [None, None]


def test_an_endpoint_that_is_cancelled_behind_a_504(stage: InProcessStage):
    """A time limit that answers before it cancels has failed the request, as one that cancels first."""

    async def endpoint() -> None:
        await asyncio.Event().wait()

    app = stage.app(endpoint)
    app.add_middleware(Answers, status=504, cancels=True)
    ask_and_wait(app)
    stage.assert_story(request_error(504, "asyncio.exceptions.CancelledError"))


def test_an_endpoint_of_a_mounted_application_that_fails_late(stage: InProcessStage):
    """An error behind a middleware's answer is told where it is, although all around is over."""

    async def endpoint() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("boom")

    inner, outer = stage.fastapi(), stage.fastapi()
    inner.get("/")(endpoint)
    inner.add_middleware(Answers, status=500)
    outer.mount("/", stage.instrument(inner))
    ask_and_wait(stage.instrument(outer))
    stage.assert_story(request_error(500, "LookupError"))


class TriesTwice:
    """Calls its application twice, whatever comes of it."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        for _ in range(2):
            with contextlib.suppress(LookupError):
                await self.app(scope, receive, send)


class TriesLater:
    """Answers with a 500 in the place of an error, and tries again when the request has ended."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        with contextlib.suppress(LookupError):
            await self.app(scope, receive, send)
        BESIDE.append(asyncio.create_task(self.app(scope, receive, send)))
        await JSONResponse({}, 500)(scope, receive, send)


@pytest.mark.parametrize("answered", ["before", "between"])
def test_a_second_attempt_behind_the_end_of_its_request(stage: InProcessStage, answered):
    """What goes wrong in a later attempt is told, although its request was answered, and ended, before that."""

    async def endpoint() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("boom")

    app = stage.app(endpoint, on_request_error=[stage.works("notify")])
    if answered == "before":
        app.add_middleware(TriesTwice)
        app.add_middleware(Answers, status=500)
    else:
        app.add_middleware(TriesLater)
    ask_and_wait(app)
    # there is no request any more that a second call could be given
    stage.assert_story(succeeded("notify"), *[request_error(500, "LookupError")] * 2)


def test_a_second_attempt_of_a_mounted_application(stage: InProcessStage):
    """What a mounted application tells in an attempt behind the end of the request around it is told once."""

    async def endpoint() -> None:
        await asyncio.sleep(0.01)
        raise LookupError("boom")

    outer = stage.fastapi()
    outer.mount("/", stage.app(endpoint))
    outer.add_middleware(TriesLater)
    ask_and_wait(stage.instrument(outer))
    stage.assert_story(*[request_error(500, "LookupError")] * 2)


# --- memory -----------------------------------------------------------------------------------------------------


class Boom(Exception):
    """One that can be referred to weakly."""


class Gone(OSError):
    """A client's end that can be referred to weakly."""


@pytest.fixture
def keeping(stage: InProcessStage) -> Iterator[Callable[[], None]]:
    """Provide a function that schedules a task which somebody keeps for long."""

    def keep() -> None:
        HELD.append(BackgroundTask(stage.works("kept")))

    yield keep
    HELD.clear()
    gc.collect()
    deferred.drain()


async def answer_500(request: Request, exc: Exception) -> JSONResponse:
    """Handle an exception; an idle worker thread keeps what it handled last."""
    return JSONResponse({}, 500)


def is_kept(reference: weakref.ref) -> bool:
    """Return whether something is still alive that ought not to be."""
    gc.collect()
    return reference() is not None


def test_a_kept_task_does_not_keep_its_request(stage: InProcessStage, keeping):
    """Of a request whose task waits in a queue neither the scope is kept nor the request around it."""
    references: list[weakref.ref] = []

    async def endpoint(request: Request) -> None:
        keeping()
        request.state.session = Boom()
        inside = current_request()
        references.extend([weakref.ref(request.state.session), weakref.ref(inside.parent)])

    inner, outer = stage.fastapi(), stage.fastapi()
    inner.get("/")(endpoint)
    outer.mount("/", stage.instrument(inner))
    assert ask(stage.instrument(outer)).status == 200
    assert not any(map(is_kept, references))


def test_a_kept_task_does_not_keep_the_error_of_its_request(stage: InProcessStage, keeping):
    """Of a failed request whose task waits in a queue the exception is not kept."""
    references: list[weakref.ref] = []

    async def endpoint() -> None:
        keeping()
        boom = Boom()
        references.append(weakref.ref(boom))
        raise boom

    app = stage.app(endpoint, logs=False)
    app.add_exception_handler(Boom, answer_500)
    stage.accounts.recorder.exceptions = deque(maxlen=0)
    assert ask(app).status == 500
    assert stage.outcomes == []
    assert not any(map(is_kept, references))


def test_a_kept_task_does_not_keep_the_loss_of_a_client(stage: InProcessStage, keeping):
    """Of a request whose task waits in a queue no exception is kept that the server raised."""
    references: list[weakref.ref] = []

    async def endpoint() -> None:
        keeping()

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None:
        gone = Gone("away")
        references.append(weakref.ref(gone))
        raise gone

    app = stage.app(endpoint, logs=False)
    stage.accounts.recorder.exceptions = deque(maxlen=0)
    with contextlib.suppress(Gone):
        asyncio.run(app(http_scope("/"), receive, send))
    assert not any(map(is_kept, references))


def test_a_kept_task_does_not_keep_the_error_of_another(stage: InProcessStage, keeping):
    """Of a request whose task waits in a queue no exception of another task is kept."""
    references: list[weakref.ref] = []

    @named("mail")
    async def mail() -> None:
        boom = Boom()
        references.append(weakref.ref(boom))
        raise boom

    async def endpoint(tasks: BackgroundTasks) -> None:
        keeping()
        tasks.add_task(mail)

    app = stage.app(endpoint)
    stage.accounts.recorder.exceptions = deque(maxlen=0)
    stage.accounts.lines.entries = deque(maxlen=0)
    stage.render()
    assert type(ask(app).error) is Boom
    assert not any(map(is_kept, references))


def test_a_kept_task_does_not_keep_an_alert_that_was_not_told(stage: InProcessStage, keeping):
    """Of a request that was cancelled before its alerts were told no exception is kept."""
    references: list[weakref.ref] = []
    waits = asyncio.Event()

    @named("mail")
    async def mail() -> None:
        boom = Boom()
        references.append(weakref.ref(boom))
        raise boom

    async def endpoint() -> None:
        keeping()
        with contextlib.suppress(Boom):
            await BackgroundTask(mail)()
        waits.set()
        await asyncio.Event().wait()

    app = stage.app(endpoint, logs=False, on_task_failure=[stage.works("alert")])
    stage.accounts.recorder.exceptions = deque(maxlen=0)
    cancelled_while(app, waits)
    assert stage.did == []
    assert not any(map(is_kept, references))
