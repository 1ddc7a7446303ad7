"""`GeneratorExit`, raised by a task itself or thrown into a coroutine that is destroyed, leaves nothing behind."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from fastapi import BackgroundTasks
from opentelemetry.trace import get_current_span
from starlette.background import BackgroundTask

import afterword
from afterword._ledger import deferred as lifetimes
from afterword._starlette import batch, state
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import abandoned, cancelled, skipped, succeeded
from tests.support.versions import NATIVE_TELEMETRY


def here() -> tuple[Any, ...]:
    """Return whatever of ours, and of what follows a task, is set in this context."""
    variables = structlog.contextvars.get_contextvars()
    return afterword.current(), state.current_request(), batch.current_batch(), get_current_span(), variables


@named("mail")
async def raises_on_loop() -> None:
    """Raise it, as a careless generator does."""
    raise GeneratorExit


@named("mail")
def raises_in_thread() -> None:
    """Raise it in a worker thread."""
    raise GeneratorExit


RAISING = pytest.mark.parametrize("task", [raises_on_loop, raises_in_thread], ids=["loop", "thread"])
MAKERS = pytest.mark.parametrize("make", ["fastapi", "native"] if NATIVE_TELEMETRY else ["fastapi"])


def asked(app: Any, task: Callable[..., Any]) -> None:
    """Ask for an answer; there is none if the task's thread raises, since that closes the coroutines it passes."""
    if task is raises_on_loop:
        assert ask(app).status == 200
    else:
        with pytest.raises(GeneratorExit):
            ask(app)


@RAISING
@MAKERS
def test_the_caller_goes_on_as_before(stage: InProcessStage, task: Callable[..., Any], make: str):
    """An endpoint that awaits a task which raises it finds no run, no span and no variables of that task."""
    app = getattr(stage, make)()
    seen = []

    def scheduled_elsewhere() -> BackgroundTask:
        with structlog.contextvars.bound_contextvars(user="ada"):
            return BackgroundTask(task)

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("audit"))
        made = scheduled_elsewhere()
        seen.append(here())
        with pytest.raises(GeneratorExit):
            await made()
        seen.append(here())

    stage.instrument(app)
    asked(app, task)
    assert seen[0] == seen[1]
    lifetimes.drain()
    # out of a thread it does not reach the endpoint alone, which can hold it: it closes the whole request
    stage.assert_story(
        cancelled("mail"), succeeded("audit") if task is raises_on_loop else abandoned("audit", "unknown")
    )
    assert "raised GeneratorExit itself" in stage.accounts.recorder.run("mail").detail


@RAISING
@pytest.mark.parametrize("mounted", [False, True])
def test_the_application_s_caller_goes_on_as_before(
    stage: InProcessStage, task: Callable[..., Any], mounted: bool
):
    """Behind a response it leaves the application as it is; nothing of the request stays with the caller."""
    inner = stage.fastapi()

    @inner.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(task)
        background.add_task(stage.works("audit"))

    app = inner
    if mounted:
        app = stage.fastapi()
        app.mount("/inner", inner)
    stage.instrument(app)

    async def scenario() -> None:
        before = here()
        with pytest.raises(GeneratorExit):
            await call(app, "/inner/" if mounted else "/")
        assert here() == before

    asyncio.run(scenario())
    lifetimes.drain()
    stage.assert_story(cancelled("mail"), skipped("audit", "earlier_task_cancelled"))


@RAISING
def test_an_application_that_is_not_instrumented(stage: InProcessStage, task: Callable[..., Any]):
    """A stranger called inside a request that raises it leaves the request where it was."""
    stranger, seen = stage.fastapi(), []

    @stranger.get("/")
    async def inside(background: BackgroundTasks) -> None:
        background.add_task(task)

    async def endpoint() -> None:
        seen.append(here())
        with pytest.raises(GeneratorExit):
            await call(stranger)
        seen.append(here())

    asked(stage.app(endpoint), task)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("when", ["in its request", "after it"])
def test_a_run_that_was_torn_down_is_forgotten(stage: InProcessStage, caplog, when: str):
    """A request that goes on, as a WebSocket does for hours, does not keep it; one that has ended needs not."""
    kept: list[BackgroundTask] = []

    async def run() -> None:
        with pytest.raises(GeneratorExit):
            await kept.pop()()
        lifetimes.drain()

    async def endpoint() -> None:
        kept.append(BackgroundTask(raises_on_loop))
        if when == "in its request":
            await run()
            assert state.current_request().runs == {}

    assert ask(stage.app(endpoint)).error is None
    if kept:
        asyncio.run(run())
    stage.assert_story(cancelled("mail"))
    assert caplog.records == []


async def _forever() -> None:
    await asyncio.Event().wait()


forever = named("mail")(_forever)


@pytest.mark.parametrize("where", ["same context", "copy", "another context"])
def test_a_coroutine_that_is_closed(stage: InProcessStage, where: str):
    """A task driven by hand and closed half way is told as cancelled, and leaves nothing in any context."""
    seen = []

    async def endpoint() -> None:
        task = BackgroundTask(forever)
        seen.append(here())
        driven = task()
        if where == "same context":
            driven.send(None)
            driven.close()
        elif where == "copy":
            driven.send(None)
            contextvars.copy_context().run(driven.close)
            return  # the copy is not where it began
        else:
            contextvars.copy_context().run(driven.send, None)
            driven.close()
        seen.append(here())

    assert ask(stage.app(endpoint)).status == 200
    assert len(set(map(repr, seen))) == 1
    lifetimes.drain()
    stage.assert_story(cancelled("mail"))


@pytest.mark.parametrize("hook", ["on_request_error", "on_task_failure"])
def test_a_request_that_is_closed_in_a_user_s_hook(stage: InProcessStage, hook: str):
    """A request that is destroyed while a function of the user's is awaited ends without an error of ours."""

    @named("hook")
    async def waits(*_: Any) -> None:
        await asyncio.Event().wait()

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.fails("mail"))
        if hook == "on_request_error":
            raise KeyError("boom")

    # contrib detaches its context in the wrong one: without it on an older FastAPI
    app = stage.app(endpoint, traces=NATIVE_TELEMETRY, **{hook: [waits]})

    async def scenario() -> None:
        driven = call(app)
        for _ in range(100):
            waiting = contextvars.copy_context().run(driven.send, None)
            if any(run.name.endswith("hook") for run in afterword.running()):
                break
            waiting._asyncio_future_blocking = False
            await asyncio.wait([waiting])
        assert driven.close() is None

    asyncio.run(scenario())
    lifetimes.drain()
    assert ("hook", "cancelled") in stage.outcomes
    assert stage.observer_errors("afterword") is None
    stage.accounts.prometheus.assert_law()
    assert len(stage.lines("request.failed")) == (hook == "on_request_error")
