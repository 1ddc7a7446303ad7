"""A task whose failure is no reason for the tasks behind it not to run."""

import asyncio

import pytest
from fastapi import HTTPException
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarlettesTasks
from starlette.responses import Response

from afterword import task
from afterword._starlette import execution
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage, scheduling
from tests.support.stage import named
from tests.support.story import HTTP_EXCEPTION, cancelled, failed, request_error, skipped, succeeded


@task(isolated=True)
@named("mail")
async def asynchronous() -> None:
    """Fail."""
    raise ValueError("boom")


@task(isolated=True)
@named("mail")
def synchronous() -> None:
    """Fail in a worker thread."""
    raise ValueError("boom")


@task(isolated=True)
@named("mail")
async def refused() -> None:
    """Fail with an exception that has a handler."""
    raise HTTPException(409)


BOTH = pytest.mark.parametrize("isolated", [asynchronous, synchronous])


@BOTH
def test_the_tasks_behind_an_isolated_one_run(stage: InProcessStage, isolated):
    """Its failure is told by every signal, says why the others run, and leaves the application with nothing."""
    told = []

    @named("alert")
    def alert(run, exc) -> None:
        told.append((run.name, str(exc)))

    app = stage.app(scheduling(isolated, stage.works("audit"), stage.works("hook")), on_task_failure=[alert])
    assert ask(app).error is None
    stage.assert_story(failed("mail"), succeeded("audit"), succeeded("hook"), succeeded("alert"))
    assert "the tasks behind it run" in stage.accounts.recorder.ended_runs[0].detail
    assert told == [("shop.mail", "boom")]


@BOTH
def test_an_isolated_task_that_is_alone(stage: InProcessStage, isolated):
    """The background of a response may be one task: its exception does not reach the server either."""

    async def endpoint() -> Response:
        return Response(background=BackgroundTask(isolated))

    assert ask(stage.app(endpoint)).error is None
    stage.assert_story(failed("mail"))


def test_an_exception_with_a_handler_is_no_request_error(stage: InProcessStage):
    """An ``HTTPException`` of an isolated task reaches no handler, and no request failed."""
    assert ask(stage.app(scheduling(refused, stage.works("audit")))).error is None
    stage.assert_story(failed("mail", HTTP_EXCEPTION), succeeded("audit"))


def test_a_task_behind_that_is_not_isolated_stops_the_batch_as_ever(stage: InProcessStage):
    """What is skipped names the task that stopped the batch, not the isolated one before it."""

    @named("audit")
    async def fails() -> None:
        raise LookupError("boom")

    assert isinstance(ask(stage.app(scheduling(asynchronous, fails, stage.works("hook")))).error, LookupError)
    stage.assert_story(failed("mail"), failed("audit", "LookupError"), skipped("hook"))
    [line] = stage.lines("background_task.skipped")
    assert "shop.audit failed before it with LookupError" in line["detail"]


def test_an_isolated_task_in_a_batch_within_a_batch(stage: InProcessStage):
    """The tasks behind it run in its own batch and in the one around it."""

    async def endpoint() -> Response:
        inner = StarlettesTasks([BackgroundTask(synchronous), BackgroundTask(stage.works("audit"))])
        return Response(background=StarlettesTasks([inner, BackgroundTask(stage.works("hook"))]))

    assert ask(stage.app(endpoint)).error is None
    stage.assert_story(failed("mail"), succeeded("audit"), succeeded("hook"))


def test_a_cancellation_is_not_isolated(stage: InProcessStage):
    """Whoever stops the code stops the batch: an isolated task that is cancelled lets nothing run behind it."""

    @task(isolated=True)
    @named("mail")
    async def is_cancelled() -> None:
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        raise ask(stage.app(scheduling(is_cancelled, stage.works("audit")))).error
    stage.assert_story(cancelled("mail"), skipped("audit", "earlier_task_cancelled"))


def test_code_that_awaits_one_task_gets_its_exception(stage: InProcessStage):
    """An endpoint that awaits an isolated task by itself wants to know how it ends."""

    async def endpoint() -> None:
        await BackgroundTask(asynchronous)()

    assert isinstance(ask(stage.app(endpoint)).error, ValueError)
    stage.assert_story(failed("mail"), request_error("500", "ValueError"))


def test_a_task_that_is_not_marked_is_none(stage: InProcessStage):
    """``@task()`` alone changes nothing: the first error stops the batch, and reaches the server."""

    @task("shop.mail")
    async def fails() -> None:
        raise ValueError("boom")

    assert isinstance(ask(stage.app(scheduling(fails, stage.works("audit")))).error, ValueError)
    stage.assert_story(failed("mail"), skipped("audit"))


@pytest.mark.faults
def test_a_fault_of_ours_lets_the_exception_through(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """If our own code cannot say whether a task is isolated, that is counted, and all goes as without us."""

    def fails(func: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr("afterword._starlette.execution.task_options", fails)
    app = stage.app(scheduling(stage.fails("mail"), stage.works("audit")))
    assert str(ask(app).error) == "boom"
    stage.assert_story(failed("mail"), skipped("audit"))
    assert stage.observer_errors("afterword") == 1.0


def test_it_is_decided_once(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """What a task says of itself may change while ``on_task_failure`` runs: its end and its exception agree."""
    answers = iter([True, False])
    options = execution.task_options
    monkeypatch.setattr(execution, "task_options", lambda func: options(func)._replace(isolated=next(answers)))
    assert ask(stage.app(scheduling(asynchronous, stage.works("audit")))).error is None
    assert next(answers) is False
    stage.assert_story(failed("mail"), succeeded("audit"))


def test_a_task_that_awaits_another_one_gets_its_exception(stage: InProcessStage):
    """A task's function may call one task itself, alone or in a batch: the batch it runs in is not meant."""
    caught = []

    @named("outer")
    async def outer() -> None:
        for run in (BackgroundTask(asynchronous), BackgroundTask(synchronous)):
            with pytest.raises(ValueError, match="boom") as error:
                await run()
            caught.append(str(error.value))

    async def alone() -> Response:
        return Response(background=BackgroundTask(outer))

    for endpoint in (scheduling(outer, stage.works("audit")), alone):
        caught.clear()
        assert ask(stage.app(endpoint)).error is None
        assert caught == ["boom", "boom"]


def test_a_batch_that_a_task_runs(stage: InProcessStage):
    """In a batch that a task's function runs itself, the tasks behind an isolated one run as in any other."""

    @named("outer")
    async def outer() -> None:
        await StarlettesTasks([BackgroundTask(asynchronous), BackgroundTask(stage.works("hook"))])()

    assert ask(stage.app(scheduling(outer, stage.works("audit")))).error is None
    stage.assert_story(succeeded("outer"), failed("mail"), succeeded("hook"), succeeded("audit"))


def test_a_subclass_that_tries_again_gets_the_exception(stage: InProcessStage):
    """A kind of task of your own that awaits Starlette's ``__call__`` decides itself: an error is none of ours."""
    caught = []

    class Retried(BackgroundTask):
        async def __call__(self) -> None:
            for _ in range(2):
                try:
                    await super().__call__()
                except ValueError as error:
                    caught.append(str(error))

    async def endpoint() -> Response:
        return Response(background=StarlettesTasks([Retried(asynchronous), BackgroundTask(stage.works("audit"))]))

    assert ask(stage.app(endpoint)).error is None
    assert caught == ["boom", "boom"]
    stage.assert_story(failed("mail"), failed("mail"), succeeded("audit"))
