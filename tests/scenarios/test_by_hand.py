"""Tasks that are shared, nested, awaited by hand or handed to somebody else."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks

from tests.support.comparison import Comparison
from tests.support.stage import Stage, named
from tests.support.story import failed, request_error, skipped, succeeded
from tests.support.visit import get


def test_one_task_shared_by_every_response_runs_once_a_response(comparison: Comparison):
    """A task made once, at import, and put on every response has one run per response."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        shared = BackgroundTask(stage.works("mail"))

        @app.get("/")
        async def endpoint() -> JSONResponse:
            return JSONResponse({}, background=shared)

        return app

    comparison.verify(build, get("/", "/", "/"), *[succeeded("mail")] * 3)


def test_one_batch_shared_by_every_response_runs_once_a_response(comparison: Comparison):
    """A batch made once is accounted for at every response, also when it fails."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        shared = StarletteBackgroundTasks()
        for task in (stage.works("mail"), stage.fails("report"), stage.works("audit")):
            shared.add_task(task)

        @app.get("/")
        async def endpoint() -> JSONResponse:
            return JSONResponse({}, background=shared)

        return app

    comparison.verify(build, get("/", "/"), *[succeeded("mail"), failed("report"), skipped("audit")] * 2)


def test_a_running_task_adds_another_to_its_own_batch(comparison: Comparison):
    """A task that a running one adds to its own batch runs in that batch."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            @named("mail")
            async def mail() -> None:
                stage.did.append("mail")
                tasks.add_task(stage.works("audit"))

            tasks.add_task(mail)
            tasks.add_task(stage.works("report"))

        return app

    comparison.verify(build, get(), succeeded("mail"), succeeded("report"), succeeded("audit"))


@pytest.mark.parametrize("kind", ["task", "batch"])
def test_a_task_awaited_by_hand_runs_once(comparison: Comparison, kind: str):
    """A task or a batch that the endpoint awaits itself runs once, before the response."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint() -> None:
            task = BackgroundTask(stage.works("mail"))
            await (task if kind == "task" else BackgroundTasks([task]))()
            stage.did.append("endpoint")

        return app

    comparison.verify(build, get(), succeeded("mail"))
    assert comparison.bare.did == ["mail", "endpoint"]


@pytest.mark.parametrize("fails", [False, True], ids=["working", "failing"])
def test_a_batch_added_as_a_task_counts_its_own_tasks_only(comparison: Comparison, fails: bool):
    """The merge recipe, ``add_task(response.background)``, counts the inner tasks only, once each."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint() -> JSONResponse:
            inner = StarletteBackgroundTasks()
            inner.add_task((stage.fails if fails else stage.works)("mail"))
            inner.add_task(stage.works("report"))
            response = JSONResponse({}, background=inner)
            tasks = BackgroundTasks()
            tasks.add_task(response.background)
            tasks.add_task(stage.works("audit"))
            response.background = tasks
            return response

        return app

    if fails:
        expected = [failed("mail"), skipped("report"), skipped("audit")]
    else:
        expected = [succeeded("mail"), succeeded("report"), succeeded("audit")]
    comparison.verify(build, get(), *expected, peers_keep_some=True)


@pytest.mark.parametrize("fails", [False, True], ids=["working", "failing"])
def test_batches_inside_batches_run_depth_first(comparison: Comparison, fails: bool):
    """Batches nested as members run depth first; after a failure all that is behind it is skipped."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        @app.get("/")
        async def endpoint() -> JSONResponse:
            innermost = StarletteBackgroundTasks([BackgroundTask(stage.works("report"))])
            middle = BackgroundTask((stage.fails if fails else stage.works)("mail"))
            last = StarletteBackgroundTasks([BackgroundTask(stage.works_in_thread("audit"))])
            inner = StarletteBackgroundTasks([innermost, middle])
            return JSONResponse({}, background=StarletteBackgroundTasks([inner, last]))

        return app

    fate = [failed("mail"), skipped("audit")] if fails else [succeeded("mail"), succeeded("audit")]
    comparison.verify(build, get(), succeeded("report"), *fate, peers_keep_some=True)


def test_a_task_handed_to_a_worker_is_told_once(comparison: Comparison):
    """A task that a worker started elsewhere runs is accounted for once, with the request it came from."""

    def build(stage: Stage) -> FastAPI:
        @asynccontextmanager
        async def lifespan(app: FastAPI):
            stage.queue = asyncio.Queue()
            worker = asyncio.create_task(work(stage.queue))
            yield
            await stage.queue.put(None)
            await worker

        async def work(queue: asyncio.Queue) -> None:
            while task := await queue.get():
                await task()

        app = stage.fastapi(lifespan=lifespan)

        @app.get("/")
        async def endpoint() -> None:
            await stage.queue.put(BackgroundTask(stage.works("mail")))
            await stage.queue.put(BackgroundTask(stage.works_in_thread("report")))

        return app

    def drive(visit) -> None:
        visit.get()
        visit.wait_for("mail", "report")

    comparison.verify(build, drive, succeeded("mail"), succeeded("report"))
    assert {run.request.route for run in comparison.accounts.recorder.ended_runs} == {"/"}


def test_a_task_handed_to_another_application_stays_in_its_account(comparison: Comparison):
    """A task that another application's response carries stays in the account it was born in."""

    def build(stage: Stage) -> FastAPI:
        app, stage.other = stage.fastapi(), FastAPI()
        handed: list[BackgroundTask] = []

        @app.get("/")
        async def hand_over() -> None:
            handed.append(BackgroundTask(stage.works("mail")))

        @stage.other.get("/")
        async def take_over() -> JSONResponse:
            return JSONResponse({}, background=handed.pop())

        return app

    def drive(visit) -> None:
        visit.get()
        with visit.elsewhere(visit.stage.other) as other:
            other.get()
            visit.wait_for("mail")

    comparison.verify(build, drive, succeeded("mail"))


def test_what_a_failed_request_left_running_schedules_tasks_of_its_own(comparison: Comparison):
    """What a ``create_task`` of a failed request schedules later runs, detached from the request."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.released = released = asyncio.Event()
        running: list[asyncio.Task] = []

        async def later() -> None:
            await released.wait()
            await BackgroundTask(stage.works("mail"))()

        @app.get("/")
        async def endpoint() -> None:
            running.append(asyncio.create_task(later()))
            raise ValueError("boom")

        @app.get("/next")
        async def next_endpoint() -> None:
            stage.did.append("next")

        return app

    def drive(visit) -> None:
        visit.get()
        visit.get("/next")  # the failed request is over by now
        visit.server.call(visit.stage.released.set)
        visit.wait_for("mail")

    comparison.verify(build, drive, succeeded("mail"), request_error(500, "ValueError"))
