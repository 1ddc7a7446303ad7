"""`afterword.runs`: an endpoint is told which runs it has scheduled."""

import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteTasks

import afterword
from tests.support.asgi import ask
from tests.support.console import PATH, TOKEN, told
from tests.support.in_process import InProcessStage


def test_an_endpoint_is_told_its_runs(stage: InProcessStage):
    """The runs of what was added come in order, and are those that the account has."""
    seen = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        assert afterword.runs(tasks) == []
        tasks.add_task(stage.works("mail"))
        tasks.add_task(stage.works("report"))
        seen.extend(afterword.runs(tasks))

    ask(stage.app(endpoint))
    assert seen == stage.accounts.recorder.ended_runs
    assert [run.name.rpartition(".")[2] for run in seen] == ["mail", "report"]


def test_a_client_can_ask_for_them(stage: InProcessStage, monkeypatch):
    """An id that an endpoint has answered with leads to its run in the console."""
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", TOKEN)

    async def endpoint(tasks: BackgroundTasks) -> list[str]:
        tasks.add_task(stage.works("mail"))
        return [run.id for run in afterword.runs(tasks)]

    app = stage.app(endpoint, console=PATH)
    run = ask(app).text.strip('[]"')
    assert told(app, f"runs/{run}")["run"]["outcome"] == "succeeded"


def test_batches_in_batches(stage: InProcessStage):
    """What is in a batch that was added is counted in, and a single task has its run, too."""
    seen = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        inner = StarletteTasks([BackgroundTask(stage.works("audit"))])
        alone = BackgroundTask(stage.works("count"))
        tasks.add_task(stage.works("mail"))
        tasks.add_task(inner)
        tasks.tasks.append(alone)
        seen.append([run.name.rpartition(".")[2] for run in afterword.runs(tasks)])
        seen.append([run.name.rpartition(".")[2] for run in afterword.runs(alone)])

    ask(stage.app(endpoint))
    assert seen == [["mail", "audit", "count"], ["count"]]


def test_without_instrumentation_there_are_none(stage: InProcessStage):
    """Tasks that nobody accounts for have no runs, and asking is no error."""
    tasks = BackgroundTasks()
    tasks.add_task(print)
    assert afterword.runs(tasks) == []
    stage.instrument(FastAPI())
    assert afterword.runs(tasks) == []


@pytest.mark.parametrize("what", [None, [], print, BackgroundTasks])
def test_what_is_no_task_is_refused(what):
    """Only tasks and batches have runs."""
    with pytest.raises(TypeError, match=r"^tasks: "):
        afterword.runs(what)
