"""What a task is called, and that being watched never changes what it is."""

import copy
import functools
import pickle

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import succeeded
from tests.support.visit import get

deeds: list[str] = []


class Mailer:
    """A callable object, sync."""

    def __call__(self) -> None:
        deeds.append("mailer")

    def send(self, to: str) -> None:
        deeds.append(to)


class AsyncMailer:
    """A callable object, async: Starlette awaits it."""

    async def __call__(self) -> None:
        deeds.append("async mailer")


def decorated(func):
    """Wrap as decorators do."""

    @functools.wraps(func)
    async def wrapper(*args):
        return await func(*args)

    return wrapper


@decorated
async def compress(name: str) -> None:
    """Do the work of a task with a decorator."""
    deeds.append(name)


def test_a_task_goes_by_its_real_name(comparison: Comparison):
    """Every kind of callable runs as it does bare and goes by the name that a reader would look for."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.did = deeds
        deeds.clear()

        @app.get("/")
        async def endpoint(tasks: BackgroundTasks) -> None:
            tasks.add_task(lambda: deeds.append("lambda"))
            tasks.add_task(functools.partial(compress, "partial"))
            tasks.add_task(Mailer().send, "bound method")
            tasks.add_task(Mailer())
            tasks.add_task(AsyncMailer())
            tasks.add_task(compress, "decorated")

        return app

    here = test_a_task_goes_by_its_real_name.__qualname__
    names = [
        f"{here}.<locals>.build.<locals>.endpoint.<locals>.<lambda>",
        "compress",
        "Mailer.send",
        "Mailer",
        "AsyncMailer",
        "compress",
    ]
    comparison.verify(build, get(), *(succeeded(name.rpartition(".")[2]) for name in names))
    assert [run.name for run in comparison.accounts.recorder.ended_runs] == [
        f"{__name__}.{name}" for name in names
    ]
    spans = [span.attributes["background_task.name"] for span in comparison.accounts.spans.of_runs()]
    assert spans == [f"{__name__}.{name}" for name in names]
    assert len(comparison.bare.did) == len(names)


def test_copies_of_a_task_are_accounted_for_by_themselves(comparison: Comparison):
    """Copies and pickles of a task work, are accounted for by themselves, and carry nothing of ours."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.did = deeds
        deeds.clear()

        @app.get("/")
        async def endpoint() -> JSONResponse:
            task = BackgroundTask(compress, "mail")
            copies = [copy.copy(task), copy.deepcopy(task), pickle.loads(pickle.dumps(task))]
            assert all((c.func, c.args, c.kwargs) == (task.func, task.args, task.kwargs) for c in copies)
            assert b"afterword" not in pickle.dumps(task)
            return JSONResponse({}, background=StarletteBackgroundTasks([task, *copies]))

        return app

    comparison.verify(build, get(), *[succeeded("compress")] * 4)


def test_a_copied_batch_runs_instead_of_the_batch(comparison: Comparison):
    """A deep copy of a whole batch runs instead of the batch; one that runs nothing is no loss."""

    def build(stage: Stage) -> FastAPI:
        app = stage.fastapi()
        stage.did = deeds
        deeds.clear()
        kept: list[BackgroundTasks] = []

        @app.get("/")
        async def endpoint() -> JSONResponse:
            tasks = BackgroundTasks()
            tasks.add_task(compress, "mail")
            tasks.add_task(compress, "report")
            kept.append(copy.deepcopy(tasks))
            return JSONResponse({}, background=tasks)

        return app

    comparison.verify(build, get(), *[succeeded("compress")] * 2)
