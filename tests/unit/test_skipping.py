"""Why the rest of a batch never ran: what is said, and what is advised."""

import asyncio
import gc
import traceback

import pytest
from fastapi import BackgroundTasks as FastAPITasks
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.responses import Response

from afterword._views.keys import keys_of
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.journals import history_of
from tests.support.sdk_logs import KeptLogs
from tests.support.stage import named
from tests.support.story import cancelled, failed, skipped
from tests.support.waiting import eventually
from tests.unit.test_called_again import TriesTwice


class InItsOwnWay(BackgroundTasks):
    """Runs its members by a method of its own, where we cannot see the batch end."""

    async def __call__(self) -> None:
        for task in self.tasks:
            await task()


@named("mail")
async def is_cancelled() -> None:
    """Be cancelled as by a shutdown."""
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@named("mail")
async def raises() -> None:
    """Fail."""
    raise ValueError("boom")


@pytest.mark.parametrize("cls", [BackgroundTasks, InItsOwnWay])
@pytest.mark.parametrize(
    ("task", "error", "said", "advised", "fate"),
    [
        (raises, ValueError, "failed before it with ValueError", "catch it", failed("mail")),
        (is_cancelled, asyncio.CancelledError, "was cancelled before it", "grace period", cancelled("mail")),
    ],
    ids=["failed", "cancelled"],
)
def test_a_skipped_task_says_what_stopped_its_batch(
    stage: InProcessStage, kept_logs: KeptLogs, tmp_path, cls, task, error, said, advised, fate
):
    """Behind a failed task the advice is for an error, behind a cancelled one it is for a shutdown.

    Line, span, record of OpenTelemetry's and journal name the task that stopped it.
    """

    async def endpoint() -> Response:
        background = cls()
        background.add_task(task)
        background.add_task(stage.works("audit"))
        return Response(background=background)

    try:
        logs = OpenTelemetryLogs(kept_logs.provider)
        raised = ask(stage.app(endpoint, journal=str(tmp_path), observers=[logs])).error
    except asyncio.CancelledError as exc:
        raised = exc
    assert type(raised) is error
    traceback.clear_frames(raised.__traceback__)  # the recorded exception holds the batch
    gc.collect()
    reason = "earlier_task_failed" if error is ValueError else "earlier_task_cancelled"
    eventually(lambda: stage.assert_story(fate, skipped("audit", reason)))
    detail = stage.accounts.recorder.run("audit").detail
    assert f"shop.mail {said}" in detail
    assert advised in detail
    assert ("catch" in detail) == (error is ValueError)
    [line], span = stage.lines("background_task.skipped"), stage.accounts.spans.of("audit").attributes
    [kept] = [kept.attributes for kept in kept_logs.records if kept.event == "background_task.skipped"]
    [record] = [record for record in history_of(tmp_path) if record.outcome == "skipped"]
    told = line["stopped_by"], record.stopped_by, *(each["background_task.stopped_by"] for each in (span, kept))
    assert set(told) == {"shop.mail"}
    assert keys_of(record)["stopped_by"] == "shop.mail"


def test_a_task_in_a_batch_inside_stops_those_around_it(stage: InProcessStage):
    """What comes behind a batch in a batch says which task in there has failed."""

    async def endpoint(tasks: FastAPITasks) -> None:
        inner = BackgroundTasks()
        inner.add_task(stage.fails("mail"))
        tasks.add_task(inner)
        tasks.add_task(stage.works("audit"))

    ask(stage.app(endpoint))
    stage.assert_story(failed("mail"), skipped("audit"))
    assert stage.accounts.recorder.run("audit").detail.startswith("shop.mail failed before it with ValueError")


def test_a_failing_alert_stops_no_batch(stage: InProcessStage):
    """What is skipped says which task failed before it, not which alert failed because of that."""

    @named("alert")
    async def alert(run, exc) -> None:
        raise OSError("no network")

    ask(stage.app_with(stage.fails("mail"), stage.works("audit"), on_task_failure=[alert]))
    stage.assert_story(failed("mail"), failed("alert", "OSError"), skipped("audit"))
    assert "shop.mail failed before it with ValueError" in stage.accounts.recorder.run("audit").detail


def test_a_task_that_is_tried_twice_stops_a_batch_that_runs_in_its_own_way(stage: InProcessStage):
    """A task with a call of its own is known as what stopped its batch, also by a class that we do not see end."""

    async def endpoint() -> Response:
        tasks = [TriesTwice(stage.fails("mail")), BackgroundTask(stage.works("report"))]
        return Response(background=InItsOwnWay(tasks))

    raised = ask(stage.app(endpoint)).error
    assert raised is not None
    traceback.clear_frames(raised.__traceback__)  # the recorded exception holds the batch
    gc.collect()
    eventually(lambda: stage.assert_story(failed("mail"), failed("mail"), skipped("report")))


def test_a_task_that_is_twice_in_its_batch(stage: InProcessStage):
    """A task that fails and comes again has a run for the second time, too, which is skipped."""

    async def endpoint() -> Response:
        batch = BackgroundTasks()
        batch.add_task(stage.fails("mail"))
        batch.tasks.append(batch.tasks[0])
        return Response(background=batch)

    ask(stage.app(endpoint))
    stage.assert_story(failed("mail"), skipped("mail"))


def in_batches(task: BackgroundTask, depth: int) -> BackgroundTask:
    """Put a task into batches inside each other."""
    for _ in range(depth):
        task = BackgroundTasks([task])
    return task


def in_tasks(task: BackgroundTask, depth: int) -> BackgroundTask:
    """Let tasks call each other, the last of them this one."""
    for _ in range(depth):
        task = BackgroundTask(task)
    return task


@pytest.mark.parametrize("wrap", [in_batches, in_tasks])
def test_a_task_deep_inside_a_shared_batch(stage: InProcessStage, wrap):
    """What a batch of a module leads to is skipped with the rest, through fifteen batches or tasks."""
    mail, audit = BackgroundTask(stage.works("mail")), BackgroundTask(stage.works("audit"))
    shared = BackgroundTasks([BackgroundTask(stage.fails("report")), wrap(mail, 15), wrap(audit, 15)])

    async def endpoint() -> Response:
        return Response(background=shared)

    app = stage.app(endpoint)
    for _ in range(2):
        ask(app)
    stage.assert_story(*[failed("report"), skipped("mail"), skipped("audit")] * 2)


@pytest.mark.parametrize("kind", ["batch", "task"])
def test_a_shared_batch_that_never_ends(stage: InProcessStage, kind):
    """A batch that leads to itself, or a task that does, ends like any other if an earlier task fails."""
    shared = BackgroundTasks([BackgroundTask(stage.fails("report"))])
    if kind == "batch":
        shared.tasks.append(shared)
    else:
        circle = BackgroundTask(stage.works("mail"))
        circle.func = circle
        shared.tasks.append(circle)

    async def endpoint() -> Response:
        return Response(background=shared)

    ask(stage.app(endpoint))
    assert {run.name for run in stage.ended} == {"report"}
