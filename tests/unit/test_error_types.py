"""What a run came to grief of has one name, the same in every signal."""

from collections.abc import Callable

import pytest
from fastapi import BackgroundTasks
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect

from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs
from tests.support.stage import named

Schedule = Callable[[InProcessStage, BackgroundTasks], None]


def of_its_own(stage: InProcessStage, background: BackgroundTasks) -> None:
    """Let it fail."""
    background.add_task(stage.fails("mail"))


def of_nobody_who_awaits_it(stage: InProcessStage, background: BackgroundTasks) -> None:
    """Let it return a coroutine that nobody awaits."""
    inner = stage.works("mail")  # a name of which the collector may find one at any time
    background.add_task(named("mail")(lambda: inner(1)))


def of_its_request(stage: InProcessStage, background: BackgroundTasks) -> None:
    """Fail its request."""
    background.add_task(stage.works("mail"))
    raise KeyError("boom")


def of_its_client(stage: InProcessStage, background: BackgroundTasks) -> None:
    """Lose its client."""
    background.add_task(stage.works("mail"))
    raise ClientDisconnect


def of_an_earlier_task(stage: InProcessStage, background: BackgroundTasks) -> None:
    """Put it behind a task that fails."""
    background.add_task(stage.fails("report"))
    background.add_task(stage.works("mail"))


def of_nobody_who_calls_it(stage: InProcessStage, background: BackgroundTasks) -> None:
    """Let nothing call it."""
    BackgroundTask(stage.works("mail"))


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        (of_its_own, "ValueError"),
        (of_nobody_who_awaits_it, "never_awaited"),
        (of_its_request, "KeyError"),
        (of_its_client, "starlette.requests.ClientDisconnect"),
        (of_an_earlier_task, "earlier_task_failed"),
        (of_nobody_who_calls_it, "never_attached"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_one_name_in_every_signal(stage: InProcessStage, schedule: Schedule, name: str):
    """Run, span, line and record name the exception, that of its request for a dropped run, or else the reason."""
    kept = KeptLogs()

    async def endpoint(background: BackgroundTasks) -> None:
        schedule(stage, background)

    ask(stage.app(endpoint, observers=[OpenTelemetryLogs(kept.provider)]))
    run = stage.accounts.recorder.run("mail")
    lines = [entry for entry in stage.accounts.lines.entries if entry.get("task_run") == run.id]
    [line] = [entry for entry in lines if "error_type" in entry]
    [record] = [one for one in kept.records if one.attributes.get("background_task.run.id") == run.id]
    span = stage.accounts.spans.of("mail")
    told = [run.error_type, line["error_type"], span.attributes["error.type"], record.attributes["error.type"]]
    assert told == [name] * 4
    kept.provider.shutdown()
