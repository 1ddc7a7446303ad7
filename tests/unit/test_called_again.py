"""Tasks that are called more than once, or in a way of their own."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks
from starlette.background import BackgroundTask
from starlette.responses import Response

from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import abandoned, failed, request_error, skipped, succeeded


class TriesTwice(BackgroundTask):
    """Calls its function once more if it fails."""

    async def __call__(self) -> None:
        with suppress(ValueError):
            await super().__call__()
            return
        await super().__call__()


def test_a_task_that_a_worker_calls_again(stage: InProcessStage):
    """Each call outside of any request has a run of its own, which belongs to the request that made the task."""
    kept: list[BackgroundTask] = []

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    async def work() -> None:
        task = kept.pop()
        await task()
        await task()

    ask(stage.app(endpoint))
    asyncio.run(work())
    stage.assert_story(succeeded("mail"), succeeded("mail"))
    assert [run.request.route for run in stage.accounts.recorder.ended_runs] == ["/", "/"]
    assert stage.observer_errors("afterword") is None


def test_a_task_that_another_request_calls_remains_that_of_its_own(stage: InProcessStage):
    """A call in another request belongs to that one, and one outside of any to the one that made the task."""
    kept: list[BackgroundTask] = []

    async def makes() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    async def calls() -> None:
        await kept[0]()

    app = stage.app(makes)
    app.get("/other")(calls)
    ask(app)
    ask(app, "/other")  # the run that the first request is still owed
    ask(app, "/other")
    asyncio.run(kept.pop()())
    stage.assert_story(*[succeeded("mail")] * 3)
    assert [run.request.route for run in stage.accounts.recorder.ended_runs] == ["/", "/other", "/"]


def test_a_task_with_a_call_of_its_own_belongs_to_its_request(stage: InProcessStage):
    """A task that calls Starlette's `__call__` in its own is part of its request, wherever it is called."""
    kept: list[BackgroundTask] = []

    async def endpoint() -> None:
        kept.append(TriesTwice(stage.works("mail")))

    ask(stage.app(endpoint))
    assert stage.outcomes == []
    asyncio.run(kept.pop()())
    stage.assert_story(succeeded("mail"))


class Instead(BackgroundTask):
    """Does something else than to call its function."""

    async def __call__(self) -> None:
        pass


def test_a_task_that_does_something_of_its_own_has_no_run(stage: InProcessStage):
    """Nothing is promised for a task that Starlette does not call, nor told of it."""

    async def endpoint() -> Response:
        return Response(background=Instead(stage.works("mail")))

    assert ask(stage.app(endpoint)).status == 200
    stage.assert_story()


def test_what_is_called_as_a_task_and_is_none_has_no_run(stage: InProcessStage, caplog):
    """A member of a batch that borrows the call of a task is called as without us, and not accounted for."""

    async def endpoint() -> Response:
        class Alike:
            __call__ = BackgroundTask.__call__
            func, args, kwargs, is_async = staticmethod(stage.works("mail")), (), {}, True

        return Response(background=BackgroundTasks([Alike()]))

    assert ask(stage.app(endpoint)).status == 200
    assert stage.did == ["mail"]
    stage.assert_story()
    assert not caplog.records  # nor is that taken for another tool's doing


def test_a_batch_that_a_worker_runs(stage: InProcessStage):
    """A batch that is run outside of any request stops at its first error each time, as in a request."""
    kept: list[BackgroundTasks] = []

    async def endpoint() -> None:
        batch = BackgroundTasks()
        batch.add_task(stage.works("mail"))
        batch.add_task(stage.fails("report"))
        batch.add_task(stage.works("audit"))
        kept.append(batch)

    ask(stage.app(endpoint))
    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            asyncio.run(kept[0]())
    stage.assert_story(*[succeeded("mail"), failed("report"), skipped("audit")] * 2)


def test_a_member_that_belongs_to_no_request_in_a_batch_that_a_worker_runs(stage: InProcessStage):
    """A task that was made outside of any request, and is called outside of any, is not accounted for."""
    kept: list[BackgroundTasks] = []
    outside = BackgroundTask(stage.works("audit"))

    async def endpoint() -> None:
        kept.append(BackgroundTasks([BackgroundTask(stage.works("mail")), outside]))

    ask(stage.app(endpoint))
    asyncio.run(kept[0]())
    assert stage.did == ["mail", "audit"]
    stage.assert_story(succeeded("mail"))


@pytest.mark.parametrize("fails", [False, True], ids=["", "failing"])
def test_a_batch_that_somebody_has_run_is_over(stage: InProcessStage, fails: bool):
    """What is added behind its end is told at the end of the request, also if the batch is kept."""
    kept: list[BackgroundTasks] = []

    async def endpoint() -> None:
        kept.append(BackgroundTasks())
        kept[0].add_task((stage.fails if fails else stage.works)("mail"))
        with suppress(ValueError):
            await kept[0]()
        kept[0].add_task(stage.works("audit"))

    ask(stage.app(endpoint))
    late = skipped("audit") if fails else abandoned("audit", "added_too_late")
    stage.assert_story(failed("mail") if fails else succeeded("mail"), late)


def test_a_batch_that_runs_beside_its_request(stage: InProcessStage):
    """Its tasks may run although the request has failed meanwhile; none is given up before its turn."""

    async def scenario() -> None:
        go_on, running = asyncio.Event(), []

        @named("mail")
        async def mail() -> None:
            await go_on.wait()

        async def endpoint() -> None:
            batch = BackgroundTasks()
            batch.add_task(mail)
            batch.add_task(stage.works("audit"))
            running.append(asyncio.create_task(batch()))
            await asyncio.sleep(0)
            raise LookupError("boom")

        answer = await call(stage.app(endpoint))
        assert answer.status == 500
        go_on.set()
        await running[0]

    asyncio.run(scenario())
    stage.assert_story(succeeded("mail"), succeeded("audit"), request_error(500, "LookupError"))


def test_a_task_that_calls_itself_again(stage: InProcessStage):
    """A class with a way of its own has one run each time it takes Starlette's way."""

    @named("mail")
    async def mail() -> None:
        stage.did.append("mail")
        if len(stage.did) == 1:
            raise ValueError("boom")

    async def endpoint() -> Response:
        return Response(background=TriesTwice(mail))

    assert ask(stage.app(endpoint)).error is None
    stage.assert_story(failed("mail"), succeeded("mail"))


def test_a_member_that_is_called_again_by_hand_is_no_other(stage: InProcessStage):
    """A task that a later one of its batch calls once more has a second run, whose failure stops the batch."""
    tasks_of: list[BackgroundTasks] = []

    @named("mail")
    async def mail() -> None:
        stage.did.append("mail")
        if len(stage.did) == 2:
            raise ValueError("boom")

    @named("again")
    async def again() -> None:
        await tasks_of.pop().tasks[0]()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks_of.append(tasks)
        tasks.add_task(mail)
        tasks.add_task(again)

    ask(stage.app(endpoint))
    stage.assert_story(succeeded("mail"), failed("mail"), failed("again"))


def test_a_task_without_a_function_fails_as_without_us(stage: InProcessStage):
    """A class that does not make itself as Starlette does is no task; what comes of calling it is the user's."""

    class Empty(BackgroundTask):
        def __init__(self) -> None: ...

    async def endpoint() -> Response:
        return Response(background=Empty())

    with pytest.raises(AttributeError, match="has no attribute 'is_async'") as caught:
        asyncio.run(Empty()())
    answer = ask(stage.app(endpoint))
    assert (answer.status, str(answer.error)) == (200, str(caught.value))
    assert stage.ended == []
    assert stage.observer_errors("afterword") is None
