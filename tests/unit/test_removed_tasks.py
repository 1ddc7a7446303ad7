"""Tasks that the user takes out of their batch: abandoned because of that, and of nothing else."""

import gc
from collections.abc import Callable
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.responses import Response

import afterword
from afterword._ledger import deferred
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import abandoned, dropped, failed, request_error, succeeded
from tests.unit.test_severity import knock


def pop(tasks: BackgroundTasks) -> None:
    """Take out the last one."""
    tasks.tasks.pop()


def clear(tasks: BackgroundTasks) -> None:
    """Take out all."""
    tasks.tasks.clear()


def replace(tasks: BackgroundTasks) -> None:
    """Put another list in the place of theirs."""
    tasks.tasks = []


WAYS = pytest.mark.parametrize("take_out", [pop, clear, replace])


def app_that_takes_out(
    stage: InProcessStage, take_out: Callable[[BackgroundTasks], None], end: Callable[[], object] = dict
) -> FastAPI:
    """Make an application whose endpoint schedules a task, takes it out again, and ends in some way."""

    async def endpoint(tasks: BackgroundTasks):
        tasks.add_task(stage.works("mail"))
        take_out(tasks)
        return end()

    return stage.app(endpoint)


def assert_told_so(stage: InProcessStage) -> None:
    """Assert that the line says that a task was taken out of its batch."""
    [line] = stage.lines("background_task.abandoned")
    assert line["detail"].startswith("it was removed from its BackgroundTasks")


@WAYS
def test_a_task_that_is_taken_out(stage: InProcessStage, take_out):
    """However a task is taken out of its batch, it is abandoned for that."""
    ask(app_that_takes_out(stage, take_out))
    stage.assert_story(abandoned("mail", "removed"))
    assert_told_so(stage)


def fail() -> None:
    """Raise."""
    raise LookupError("boom")


def is_torn_down() -> None:
    """Raise what a generator does that is closed."""
    raise GeneratorExit


@pytest.mark.parametrize("first", [None, dict, fail, is_torn_down])
def test_a_task_that_is_taken_out_and_outlives_its_batch(stage: InProcessStage, first):
    """It was removed, whatever becomes of the batch that it was taken out of."""
    kept: list[BackgroundTask] = []

    @named("audit")
    async def audit() -> None:
        first()

    async def endpoint(tasks: BackgroundTasks) -> None:
        if first is not None:
            tasks.add_task(audit)
        tasks.add_task(stage.works("mail"))
        kept.append(tasks.tasks.pop())

    with suppress(GeneratorExit):
        ask(stage.app(endpoint, logs=False))
    deferred.drain()
    stage.accounts.recorder.exceptions.clear()  # their frames, and the batch with them
    gc.collect()
    kept.clear()
    gc.collect()
    deferred.drain()
    told = [(run.outcome, run.reason) for run in stage.ended if run.name == "mail"]
    assert told == [("abandoned", "removed")]


def test_a_task_that_is_taken_out_and_kept(stage: InProcessStage):
    """A task that somebody keeps who took it out is abandoned when it is let go of; if he runs it, it succeeds."""
    kept: list[BackgroundTask] = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("audit"))
        tasks.add_task(stage.works("mail"))
        kept.append(tasks.tasks.pop())

    app = stage.app(endpoint)
    ask(app)
    assert stage.outcomes == [("audit", "succeeded")]
    kept.clear()
    gc.collect()
    deferred.drain()
    stage.assert_story(succeeded("audit"), abandoned("mail", "removed"))
    assert_told_so(stage)


def test_a_task_that_is_taken_out_of_a_batch_made_of_tasks(stage: InProcessStage):
    """A batch that was made of tasks is theirs, as one that they are added to."""

    async def endpoint() -> Response:
        batch = BackgroundTasks([BackgroundTask(stage.works("report")), BackgroundTask(stage.works("mail"))])
        batch.tasks.pop()
        return Response(background=batch)

    ask(stage.app(endpoint))
    stage.assert_story(succeeded("report"), abandoned("mail", "removed"))
    assert_told_so(stage)


def test_a_batch_made_of_tasks_that_call_others(stage: InProcessStage):
    """A batch may be made of a task that calls another batch, or another task: each of them has one run."""

    async def endpoint() -> Response:
        inner = BackgroundTasks()
        inner.add_task(stage.works("mail"))
        report = BackgroundTask(stage.works("report"))
        return Response(background=BackgroundTasks([BackgroundTask(inner), BackgroundTask(report)]))

    ask(stage.app(endpoint))
    stage.assert_story(succeeded("mail"), succeeded("report"))


def test_a_task_that_is_moved_to_the_response(stage: InProcessStage):
    """A task that is taken out of its batch and attached elsewhere runs."""

    async def endpoint(tasks: BackgroundTasks) -> JSONResponse:
        tasks.add_task(stage.works("mail"))
        return JSONResponse({}, background=tasks.tasks.pop())

    ask(stage.app(endpoint))
    stage.assert_story(succeeded("mail"))


def test_a_task_that_is_put_back(stage: InProcessStage):
    """A batch that is sorted anew has lost nothing."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        tasks.add_task(stage.works("audit"))
        tasks.tasks = tasks.tasks[::-1]

    ask(stage.app(endpoint))
    assert stage.did == ["audit", "mail"]


@WAYS
def test_a_task_that_is_taken_out_of_a_replaced_batch(stage: InProcessStage, take_out):
    """The response's own background is not blamed for a task that was gone before."""
    background = BackgroundTask(print)
    ask(app_that_takes_out(stage, take_out, lambda: JSONResponse({}, background=background)))
    assert [(run.outcome, run.reason) for run in stage.ended if run.name == "mail"] == [("abandoned", "removed")]


@WAYS
def test_a_task_that_is_taken_out_before_the_request_fails(stage: InProcessStage, take_out):
    """A failed request has not dropped a task that was taken out; what is left in the batch it has."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        take_out(tasks)
        tasks.add_task(stage.works("audit"))
        fail()

    ask(stage.app(endpoint))
    stage.assert_story(abandoned("mail", "removed"), dropped("audit"), request_error(500, "LookupError"))


class Proxy:
    """Answers nothing yet."""

    def __getattr__(self, name):
        raise RuntimeError(name)


def test_a_task_that_is_taken_out_and_kept_when_the_request_fails(stage: InProcessStage):
    """The error has cost what was left in the batch, and not what had been taken out of it."""
    kept: list[BackgroundTask] = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("audit"))
        tasks.add_task(stage.works("mail"))
        kept.append(tasks.tasks.pop())
        tasks.tasks += [Proxy(), BackgroundTask.__new__(BackgroundTask)]  # neither is asked for much
        raise KeyError("boom")

    ask(stage.app(endpoint))
    kept.clear()
    gc.collect()
    deferred.drain()
    stage.assert_story(dropped("audit"), abandoned("mail", "removed"), request_error(500, "KeyError"))


class Exits(afterword.TaskObserver):
    """Ends the process when a task is scheduled."""

    def scheduled(self, run) -> None:
        raise SystemExit


def test_a_task_whose_creation_was_cut_short_was_not_taken_out(stage: InProcessStage):
    """What never came into its batch, because the process ends, is dropped for that."""

    class OwnBatch(BackgroundTasks):
        pass

    async def endpoint() -> None:
        OwnBatch().add_task(stage.works("mail"))

    with suppress(SystemExit):
        ask(stage.app(endpoint, observers=[Exits()]))
    gc.collect()
    deferred.drain()
    assert [(run.name, run.outcome, run.reason) for run in stage.ended] == [("mail", "dropped", "request_failed")]


def test_a_marked_task_that_is_taken_out_does_not_run(stage: InProcessStage):
    """A task that was taken out was not meant to run on a request error either, also if a frame still has it."""
    audit = afterword.task(run_on_request_error=True)(stage.works("audit"))

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(audit)
        removed = tasks.tasks.pop()
        fail()
        del removed

    ask(stage.app(endpoint, logs=False))
    stage.accounts.recorder.exceptions.clear()  # their frames, and the task with them
    gc.collect()
    deferred.drain()
    assert stage.did == []
    assert [(run.name, run.outcome, run.reason) for run in stage.ended] == [("audit", "abandoned", "removed")]


def wrap(tasks: BackgroundTasks) -> None:
    """Put a function around each task that calls it."""

    def calling(task: BackgroundTask) -> BackgroundTask:
        async def wrapper() -> None:
            await task()

        return BackgroundTask(wrapper)

    tasks.tasks = [calling(task) for task in tasks.tasks]


def move(tasks: BackgroundTasks) -> None:
    """Move what was added to another batch, and that into the first."""
    other = BackgroundTasks(tasks.tasks)
    tasks.tasks = []
    tasks.add_task(other)


def merge(tasks: BackgroundTasks) -> None:
    """Take a task out of a batch that was made by hand, and that lives as long as the first."""
    tasks.other = other = BackgroundTasks()  # type: ignore[attr-defined]
    other.add_task(tasks.tasks.pop().func)
    tasks.tasks.append(other.tasks.pop())


@pytest.mark.parametrize("put_elsewhere", [wrap, move, merge])
def test_a_task_that_is_only_put_elsewhere(stage: InProcessStage, put_elsewhere):
    """A task that its batch still leads to, or another batch of the request, is lost with the request."""

    async def endpoint(tasks: BackgroundTasks, fails: bool = False) -> None:
        tasks.add_task(stage.works("mail"))
        put_elsewhere(tasks)
        if fails:
            fail()

    app = stage.app(endpoint, logs=False)
    ask(app)
    assert stage.did == ["mail"]
    ask(app, "/?fails=yes")
    stage.accounts.recorder.exceptions.clear()
    gc.collect()
    deferred.drain()
    told = [(run.outcome, run.reason) for run in stage.ended if run.name == "mail"]
    assert told[-1] == ("dropped", "request_failed")
    assert ("succeeded", None) in told


@pytest.mark.parametrize("fails", [False, True], ids=["", "failing"])
@WAYS
def test_a_task_that_an_earlier_one_takes_out(stage: InProcessStage, take_out, fails):
    """A running task may take out one behind it: that one is abandoned, and not skipped, even if it then fails."""
    batches: list[BackgroundTasks] = []

    @named("cleaner")
    async def cleaner() -> None:
        take_out(batches.pop())
        if fails:
            fail()

    async def endpoint(tasks: BackgroundTasks) -> None:
        batches.append(tasks)
        tasks.add_task(cleaner)
        tasks.add_task(stage.works("mail"))

    app = stage.app(endpoint)
    ask(app)
    cleaned = failed("cleaner", "LookupError") if fails else succeeded("cleaner")
    ran = take_out is replace and not fails  # the list that is being run goes on
    stage.assert_story(cleaned, succeeded("mail") if ran else abandoned("mail", "removed"))


def test_a_task_that_is_passed_over_has_not_run(stage: InProcessStage):
    """A task that takes itself out makes its batch pass over the next one, which is not said to have run."""
    batches: list[BackgroundTasks] = []

    @named("cleaner")
    async def cleaner() -> None:
        batches.pop().tasks.pop(0)

    async def endpoint(tasks: BackgroundTasks) -> None:
        batches.append(tasks)
        tasks.add_task(cleaner)
        tasks.add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    assert stage.did == []
    assert [(run.name, run.outcome) for run in stage.ended] == [("cleaner", "succeeded"), ("mail", "abandoned")]


def test_a_task_that_something_foreign_takes_out_has_not_run(stage: InProcessStage):
    """A member without a run that empties the batch does not make its tasks succeed."""

    class Cleaner(BackgroundTask):
        async def __call__(self) -> None:
            self.args[0].tasks.clear()

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.tasks.append(Cleaner(print, tasks))
        tasks.add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    assert stage.did == []
    assert [(run.outcome, run.reason) for run in stage.ended] == [("abandoned", "removed")]


@pytest.mark.parametrize("fails", [False, True], ids=["", "fails"])
def test_a_member_of_a_shared_batch_that_is_taken_out(stage: InProcessStage, fails):
    """A batch of a module, whose runs are opened when it is called, is treated as any other."""
    shared = BackgroundTasks()

    @named("cleaner")
    async def cleaner() -> None:
        shared.tasks.pop()
        if fails:
            raise ValueError("boom")

    shared.add_task(cleaner)
    shared.add_task(stage.works("mail"))

    async def endpoint() -> JSONResponse:
        return JSONResponse({}, background=shared)

    ask(stage.app(endpoint))
    cleaned = failed("cleaner") if fails else succeeded("cleaner")
    stage.assert_story(cleaned, abandoned("mail", "removed"))


def test_a_task_of_a_websocket_that_is_taken_out(stage: InProcessStage):
    """A task that was taken out of a WebSocket's batch is not blamed on the WebSocket."""
    app = stage.fastapi()

    @app.websocket("/ws")
    async def endpoint(socket: WebSocket, tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        tasks.tasks.clear()

    knock(stage.instrument(app))
    stage.assert_story(abandoned("mail", "removed"))


def test_a_task_that_is_added_too_late_is_not_said_to_be_removed(stage: InProcessStage):
    """What is added behind the batch's run is still in it."""
    kept: list[BackgroundTasks] = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        kept.append(tasks)

    ask(stage.app(endpoint))
    kept[0].add_task(stage.works("mail"))
    kept.clear()
    gc.collect()
    deferred.drain()
    stage.assert_story(abandoned("mail", "added_too_late"))
