"""Worker threads: waiting for one, scheduling from one, sharing a task between several."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from tests.support.comparison import Comparison
from tests.support.stage import Stage, named
from tests.support.story import dropped, request_error, succeeded
from tests.support.visit import get

HELD = 0.4


def test_waiting_for_a_thread_is_not_running(comparison: Comparison):
    """A sync task that waits for a worker thread has that wait measured apart from its duration."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        release = stage.release = threading.Event()

        @named("report")
        def report() -> None:
            stage.did.append("report")
            release.wait(10)

        @app.get("/first")
        async def first(tasks: BackgroundTasks) -> None:
            anyio.to_thread.current_default_thread_limiter().total_tokens = 1
            tasks.add_task(report)

        @app.get("/second")
        async def second(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works_in_thread("mail"))

        return app

    def drive(visit) -> None:
        visit.get("/first")
        visit.wait_for("report")
        visit.get("/second")
        time.sleep(HELD)  # the time that is measured
        visit.stage.release.set()
        visit.wait_for("mail")

    comparison.verify(build, drive, succeeded("report"), succeeded("mail"))
    report, mail = (comparison.accounts.recorder.run(name) for name in ("report", "mail"))
    assert mail.thread_wait >= HELD * 0.75
    assert mail.duration < HELD * 0.5
    assert report.thread_wait < HELD * 0.5
    assert report.duration >= HELD * 0.75
    span = comparison.accounts.spans.of("mail")
    assert span.attributes["background_task.thread_wait"] == pytest.approx(mail.thread_wait)
    [line] = [
        line
        for line in comparison.accounts.lines.named("background_task.succeeded")
        if line["task"] == "shop.mail"
    ]
    assert line["thread_wait_s"] == pytest.approx(mail.thread_wait, abs=0.01)


@pytest.mark.parametrize("fails", [False, True], ids=["answered", "failed"])
@pytest.mark.parametrize("who", ["thread", "executor"])
def test_a_task_added_from_a_thread_belongs_to_its_request(comparison: Comparison, who: str, fails: bool):
    """A task added from a bare thread or an executor belongs to the request whose batch it joins."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()

        def add(tasks: BackgroundTasks) -> None:
            tasks.add_task(stage.works("mail"))

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            if who == "thread":
                thread = threading.Thread(target=add, args=[tasks])
                thread.start()
                thread.join()
            else:
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(add, tasks).result()
            if fails:
                raise ValueError("boom")

        return app

    expected = [dropped("mail"), request_error(500, "ValueError")] if fails else [succeeded("mail")]
    comparison.verify(build, get(), *expected)
    assert comparison.accounts.recorder.run("mail").request.route == "/"


def test_a_shared_sync_task_called_concurrently_keeps_its_name(comparison: Comparison):
    """One sync task that several requests call at once keeps its function and its name."""
    clients = 5

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        together = threading.Barrier(clients)

        @named("report")
        def report() -> None:
            together.wait(10)
            stage.did.append(shared.func is report)

        shared = BackgroundTask(report)

        @app.get("/")
        async def endpoint() -> JSONResponse:
            return JSONResponse({}, background=shared)

        return app

    def drive(visit) -> None:
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(visit.get, ["/"] * clients))
        visit.wait_for(*[True] * clients)

    comparison.verify(build, drive, *[succeeded("report")] * clients, in_order=False)
