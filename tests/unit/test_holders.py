"""Who holds a task whose request has failed: only what failed, or somebody who may still call it."""

import asyncio
import gc
from collections import deque
from collections.abc import Callable

import pytest
from fastapi import BackgroundTasks, HTTPException
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from afterword._ledger import deferred
from afterword._starlette import holders
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import HTTP_EXCEPTION, dropped, request_error, succeeded

QUEUE: deque[BackgroundTask] = deque()
"""A worker's, which nothing of a request leads to."""


async def work() -> None:
    """Run what is in the queue."""
    while QUEUE:
        await QUEUE.popleft()()


# --- what failed ------------------------------------------------------------------------------------------------


def of_a_cause(make: Callable[[], BackgroundTask]) -> None:
    """Raise from an error whose frame has a task."""

    def helper() -> None:
        job = make()
        raise KeyError(job.is_async)

    try:
        helper()
    except KeyError as exc:
        raise LookupError("boom") from exc


def of_a_context(make: Callable[[], BackgroundTask]) -> None:
    """Raise while an error is handled whose frame has a task, and that has a cause beside it."""

    def helper() -> None:
        job = make()
        raise KeyError(job.is_async)

    try:
        helper()
    except KeyError:
        raise LookupError("boom") from OSError("of something else")


def in_a_group(make: Callable[[], BackgroundTask]) -> None:
    """Raise several errors, the last of which has a frame that has a task."""

    def helper() -> None:
        job = make()
        raise KeyError(job.is_async)

    try:
        helper()
    except KeyError as exc:
        group = ExceptionGroup("several", [OSError("of something else"), exc])
    raise group from OSError("of something else")


def in_a_circle(make: Callable[[], BackgroundTask]) -> None:
    """Raise an error that came of itself."""
    job = make()
    error = LookupError(job.is_async)
    error.__cause__ = KeyError("boom")
    error.__cause__.__cause__ = error
    raise error


@pytest.mark.parametrize("fail", [of_a_cause, of_a_context, in_a_group, in_a_circle])
def test_a_task_that_only_an_error_holds(stage: InProcessStage, fail):
    """A task in a frame of an error, or of one that it came of, is told when the request ends, not later."""

    async def endpoint() -> None:
        fail(lambda: BackgroundTask(stage.works("mail")))

    answer = ask(stage.app(endpoint))
    assert stage.outcomes == [("mail", "dropped")]
    assert answer.error is not None


def test_a_task_of_a_middleware_that_an_error_passes(stage: InProcessStage):
    """A task in the frame of a middleware is told with the request whose error went through that."""

    class Schedules:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            job = BackgroundTask(stage.works("mail"))
            await self.app(scope, receive, send)
            assert job

    async def endpoint() -> None:
        raise LookupError("boom")

    app = stage.app(endpoint)
    app.add_middleware(Schedules)
    answer = ask(app)
    assert stage.outcomes == [("mail", "dropped")]
    assert answer.error is not None


class Proxy:
    """Stands for something that is not there, as a proxy to the current request does outside of one."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("there is no request")


class Rows(list):
    """Asks a database how long it is."""

    def __len__(self) -> int:
        raise RuntimeError("there is no database")


class Nowhere:
    """Has no module."""

    __module__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("odd", [Proxy, Rows, Nowhere])
def test_an_odd_object_beside_a_task(stage: InProcessStage, odd):
    """What else is in the frames of an error is not asked for anything, and costs no task its outcome."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        beside = odd()
        jobs = {"mail": BackgroundTask(stage.works("mail"))}
        tasks.tasks = [BackgroundTask(print, beside)]
        raise HTTPException(422, detail=list(jobs))

    ask(stage.app(endpoint))
    told = {run.name: run.outcome for run in stage.ended}
    assert told == {"mail": "dropped", "print": "dropped"}


def test_large_data_is_not_searched():
    """A million numbers that a client has sent are not searched for a task: that would stop the event loop."""
    matrix = [[0] * 1000 for _ in range(1000)]
    for looks in (holders._is_looked_into, holders._may_wrap):
        found = list(holders._referred_to([[matrix, {"rows": matrix}, list(range(20_000))]], 5, looks))
        assert sum(map(len, found)) < 50_000


def test_a_task_beside_large_data_is_found():
    """Of what is large only as much is looked at as may be; a task is in something small."""
    task = BackgroundTask(print)
    data = [[number] * 10 for number in range(5000)]
    batch = BackgroundTasks([BackgroundTask(print, data, [[task]])])
    assert holders.leads_to(batch, task)


# --- somebody else ----------------------------------------------------------------------------------------------


def test_an_injected_task_that_a_worker_holds_too(stage: InProcessStage):
    """A task that is in FastAPI's batch and in a queue is not dropped with its request: a worker may run it."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        QUEUE.extend(tasks.tasks)
        raise HTTPException(404)

    ask(stage.app(endpoint))
    assert stage.outcomes == []
    asyncio.run(work())
    stage.assert_story(succeeded("mail"), request_error(404, HTTP_EXCEPTION))


def test_a_task_whose_own_batch_is_gone(stage: InProcessStage):
    """A task that only a queue holds, since nobody has kept its batch, is not dropped with its request."""

    def jobs() -> list[BackgroundTask]:
        batch = BackgroundTasks()
        batch.add_task(stage.works("mail"))
        return batch.tasks

    async def endpoint() -> None:
        QUEUE.extend(jobs())
        raise HTTPException(404)

    ask(stage.app(endpoint))
    assert stage.outcomes == []
    asyncio.run(work())
    stage.assert_story(succeeded("mail"), request_error(404, HTTP_EXCEPTION))


def test_a_task_that_a_worker_lets_go(stage: InProcessStage):
    """A task that somebody has held, and never called, is dropped with its request's error when he lets it go."""

    async def endpoint() -> None:
        QUEUE.append(BackgroundTask(stage.works("mail")))
        raise HTTPException(404)

    ask(stage.app(endpoint))
    QUEUE.clear()
    gc.collect()
    deferred.drain()
    stage.assert_story(dropped("mail"), request_error(404, HTTP_EXCEPTION))


def test_a_task_of_a_module_beside_a_request(stage: InProcessStage):
    """A task that a module keeps for all requests is not dropped with the one that failed."""

    async def endpoint(fails: bool = True) -> JSONResponse:
        if not QUEUE:
            QUEUE.append(BackgroundTask(stage.works("mail")))
        if fails:
            raise HTTPException(404)
        return JSONResponse({}, background=QUEUE[0])

    app = stage.app(endpoint)
    ask(app)
    ask(app, "/?fails=no")
    QUEUE.clear()
    stage.assert_story(succeeded("mail"), request_error(404, HTTP_EXCEPTION))
