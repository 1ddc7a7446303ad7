"""What is kept, and for how long."""

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks, WebSocket
from starlette.background import BackgroundTask
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response, StreamingResponse

import afterword
from afterword._ledger import deferred as lifetimes
from afterword._ledger import runs as ledger
from afterword._starlette import state
from tests.support.accounts import Recorder
from tests.support.asgi import ask, websocket
from tests.support.in_process import InProcessStage
from tests.support.story import failed, skipped, succeeded
from tests.support.versions import NATIVE_TELEMETRY
from tests.unit.test_called_again import TriesTwice

TASKS = 10_000


class Counts(afterword.TaskObserver):
    """Counts what has ended, and keeps nothing."""

    def __init__(self) -> None:
        self.ended_runs = 0

    def ended(self, run) -> None:
        self.ended_runs += 1


def silent(stage: InProcessStage, app, observers=()) -> Counts:
    """Instrument an application so that nothing but a counter and these observers are told."""
    counts = Counts()
    afterword.instrument(app, observers=[counts, *observers], traces=False, metrics=False, logs=False)
    stage.instrumented.append(app)
    return counts


async def nothing() -> None:
    """Do nothing."""


async def schedules_nothing(background: BackgroundTasks) -> None:
    """Schedule a task that does nothing."""
    background.add_task(nothing)


def test_a_task_object_is_not_kept_alive(stage: InProcessStage):
    """When the application lets go of a task, it is gone, and its run is accounted for."""
    alive = []

    async def endpoint() -> None:
        task = BackgroundTask(nothing)
        alive.append(weakref.ref(task))
        del task
        alive.append(alive[0]() is None)

    ask(stage.app(endpoint))
    assert alive[1] is True
    assert stage.outcomes == [("nothing", "abandoned")]


def test_nothing_is_written_on_a_task(stage: InProcessStage):
    """A task has the attributes it would have without us."""
    seen = []

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(nothing)
        seen.append((set(vars(background)), set(vars(background.tasks[0]))))

    ask(stage.app(endpoint))
    assert seen == [({"tasks"}, {"func", "args", "kwargs", "is_async"})]


def test_nothing_is_left_after_a_request(stage: InProcessStage):
    """No run, no task and no batch is remembered when requests of all kinds have ended."""

    async def broken(background: BackgroundTasks) -> None:
        background.add_task(nothing)
        BackgroundTasks().add_task(nothing)
        TriesTwice(nothing)
        raise KeyError("boom")

    app = stage.app_with(stage.works("mail"), stage.fails("report"), stage.works("audit"))
    app.get("/broken")(broken)
    gc.collect()
    of_others = len(state._tasks), len(state._batches)
    for path in ("/", "/broken", "/missing"):
        ask(app, path)
    stage.accounts.lines.entries.clear()  # with the tracebacks
    stage.accounts.recorder.exceptions.clear()
    gc.collect()
    assert not ledger.has_open_runs()
    assert (len(state._tasks), len(state._batches)) <= of_others
    assert lifetimes._deferred.empty()


class MadeTwice(BackgroundTasks):
    """Is initialised once more, as by a class with two bases."""

    def __init__(self, tasks) -> None:
        super().__init__(tasks)
        super().__init__(tasks)


def test_a_batch_that_is_initialised_twice(stage: InProcessStage):
    """A batch is forgotten without a word also if its `__init__` was called twice and its task is kept."""
    kept: list[BackgroundTask] = []

    async def endpoint() -> Response:
        kept.append(BackgroundTask(stage.works("mail")))
        return Response(background=MadeTwice(kept))

    of_others = len(state._batches)
    assert ask(stage.app(endpoint)).status == 200
    gc.collect()
    assert len(state._batches) <= of_others
    stage.assert_story(succeeded("mail"))


def test_a_long_websocket_holds_no_ended_runs(stage: InProcessStage):
    """Ten thousand tasks that a WebSocket endpoint runs itself leave nothing in its request."""
    held = []

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        while (await socket.receive_text()) != "stop":
            for _ in range(TASKS // 10):
                await BackgroundTask(nothing)()
            held.append((len(state.current_request().runs), len(state._tasks) - of_others < TASKS // 10))
            await socket.send_text("done")

    async def conversation(say, hear) -> None:
        for _ in range(10):
            await say("go")
            await hear()
        await say("stop")

    of_others = len(state._tasks)
    app = stage.fastapi()
    app.websocket("/ws")(endpoint)
    counts = silent(stage, app)
    asyncio.run(websocket(app, "/ws", conversation))
    assert counts.ended_runs == TASKS
    assert held == [(0, True)] * 10


def test_a_request_holds_no_skipped_runs(stage: InProcessStage):
    """What is skipped in a batch that an endpoint runs itself is let go of at once."""

    async def endpoint() -> None:
        batch = BackgroundTasks([BackgroundTask(stage.fails("mail")), BackgroundTask(stage.works("report"))])
        with suppress(ValueError):
            await batch()
        assert not state.current_request().runs

    assert ask(stage.app(endpoint)).status == 200
    stage.assert_story(failed("mail"), skipped("report"))


def test_a_long_stream_holds_no_ended_runs(stage: InProcessStage):
    """Ten thousand tasks that are scheduled and abandoned in a stream leave nothing in its request."""
    held = []

    async def numbers():
        for number in range(TASKS):
            BackgroundTask(nothing)
            if number % 1000 == 0:
                lifetimes.drain()
                held.append(len(state.current_request().runs))
                yield b"."

    async def endpoint() -> StreamingResponse:
        return StreamingResponse(numbers())

    app = stage.fastapi()
    app.get("/")(endpoint)
    counts = silent(stage, app)
    assert ask(app).body == b"." * 10
    assert counts.ended_runs == TASKS
    assert max(held) <= 1  # the sweeping thread may be at work on one


def test_a_run_keeps_no_exception(stage: InProcessStage):
    """A run that an observer keeps does not keep its exception, nor the frames of the task."""
    held, recorder = [], Recorder()

    class Boom(Exception):
        """One that can be referred to weakly."""

    async def fails() -> None:
        error = Boom()
        held.append(weakref.ref(error))
        raise error

    app = stage.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(fails)

    silent(stage, app, observers=[KeepsRuns(recorder)])
    assert type(ask(app).error) is Boom
    gc.collect()
    assert held[0]() is None
    assert [run.exception for run in recorder.ended_runs] == [None]


class KeepsRuns(afterword.TaskObserver):
    """Keeps the runs, not what was on them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def ended(self, run) -> None:
        assert run.exception is not None
        self.recorder.ended_runs.append(run)


def made_and_used(stage: InProcessStage, *, uninstrumented: bool, **options) -> weakref.ref:
    """Make an application, instrument it, use it, let go of it; return a reference to see whether it is gone."""
    app = stage.fastapi()
    app.get("/")(schedules_nothing)
    afterword.instrument(app, **stage.settings, **options)
    ask(app)
    if uninstrumented:
        afterword.uninstrument(app)
    return weakref.ref(app)


UNINSTRUMENTED = pytest.mark.parametrize("uninstrumented", [True, False], ids=["uninstrumented", "dropped"])


@pytest.mark.slow
@UNINSTRUMENTED
def test_an_application_per_test_does_not_add_up(stage: InProcessStage, uninstrumented):
    """Fifty applications on one registry, each used and dropped, leave no more than FastAPI's small caches."""

    def objects_after(rounds: int) -> int:
        for _ in range(rounds):
            # contrib, which traces the requests of an old FastAPI, keeps every application it has seen
            made_and_used(stage, uninstrumented=uninstrumented, traces=NATIVE_TELEMETRY)
            stage.accounts.spans.exporter.clear()
            stage.accounts.lines.entries.clear()
        gc.collect()
        return len(gc.get_objects())

    before = objects_after(5)
    grown = objects_after(50) - before
    ask(stage.fastapi())  # the next request of any application gives the classes back
    assert grown < 50 * 15, f"{grown} objects more after 50 applications"


@UNINSTRUMENTED
def test_an_application_is_collected(stage: InProcessStage, uninstrumented):
    """An instrumented application that nobody holds any more is gone with its account."""
    app = made_and_used(stage, uninstrumented=uninstrumented)
    gc.collect()
    survivor = app()
    if survivor is not None:
        afterword.uninstrument(survivor)
    assert survivor is None
    ask(stage.fastapi())  # the next request of any application gives the classes back


def test_a_middleware_for_every_request_is_not_kept(stage: InProcessStage):
    """Of exception middleware that an application makes anew for each request, only some are ever held."""

    class Fresh:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            made = ExceptionMiddleware(self.app)
            alive.add(made)
            await made(scope, receive, send)

    async def endpoint() -> None:
        """Do nothing."""

    alive: weakref.WeakSet[ExceptionMiddleware] = weakref.WeakSet()
    app = stage.app(endpoint)
    app.add_middleware(Fresh)
    for _ in range(200):
        ask(app)
    gc.collect()
    assert 0 < len(alive) < 100
