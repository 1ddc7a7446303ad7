"""What is told when a process is about to end: what it waits for, and what it has cut off."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastapi import BackgroundTasks, FastAPI

from afterword._common.semconv import BOUNDS
from afterword._ledger.ending import ending
from afterword._setup.observers import p95
from afterword._signals.meanwhile import shutdown
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import call
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs
from tests.support.waiting import wait_until_async

WAITING, ENDED = "shutdown.waiting", "shutdown.ended"


class Hold:
    """Tasks that run until they are let go, and are in no haste to end when they are cancelled."""

    def __init__(self, may_end: Callable[[], object] = lambda: True) -> None:
        self.let_go = asyncio.Event()
        self._may_end = may_end

    async def export(self) -> None:
        try:
            await self.let_go.wait()
        finally:
            await wait_until_async(self._may_end)


async def mail() -> None:
    """Do nothing."""


async def live(app: FastAPI, *during: Callable[[], Any]) -> None:
    """Play the life of an application: its requests, then the message that ends it, then its end."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    told: asyncio.Queue[str] = asyncio.Queue()

    async def receive() -> dict[str, str]:
        return {"type": await heard.get()}

    async def send(message: dict[str, Any]) -> None:
        told.put_nowait(message["type"])

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    serving = asyncio.create_task(app(scope, receive, send))
    heard.put_nowait("lifespan.startup")
    assert await told.get() == "lifespan.startup.complete"
    for step in during:
        await step()
    heard.put_nowait("lifespan.shutdown")
    assert await told.get() == "lifespan.shutdown.complete"
    await serving


def shop(stage: InProcessStage, hold: Hold, **options: Any) -> FastAPI:
    """Make an application that schedules a mail, or an export with a mail behind it."""
    app = stage.fastapi()

    @app.get("/mail")
    async def send(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)

    @app.get("/export")
    async def export(tasks: BackgroundTasks) -> None:
        tasks.add_task(hold.export)
        tasks.add_task(mail)

    return stage.instrument(app, **options)


def test_a_shutdown_says_what_it_waits_for_and_what_it_has_cut_off(stage: InProcessStage):
    """Two lines: what runs and waits, for how long, and how long usually; what was cancelled and skipped."""
    kept = KeptLogs()

    async def main() -> None:
        app = shop(stage, Hold(lambda: stage.lines(WAITING)), observers=[OpenTelemetryLogs(kept.provider)])
        requests: list[asyncio.Task[Any]] = []

        async def serve() -> None:
            await call(app, "/mail")
            requests.append(asyncio.create_task(call(app, "/export")))
            await wait_until_async(lambda: len(stage.lines("background_task.started")) == 2)
            requests[0].cancel()  # as a server does right before it ends the lifespan

        with contextlib.suppress(asyncio.CancelledError):
            await live(app, serve)
            await requests[0]

    asyncio.run(main())
    [waiting], [ended] = stage.lines(WAITING), stage.lines(ENDED)
    assert (waiting["log_level"], waiting["count"]) == ("info", 2)
    exporting, mailing = sorted(waiting["task_counts"])
    assert re.search(r"Hold\.export: 1 running for up to \d+\.\d{3} s$", exporting)  # none has ended
    assert re.search(r"mail: 1 pending for up to \d+\.\d{3} s, usually takes up to [\d.]+ s$", mailing)
    assert waiting["age_s"] > 0
    assert (ended["log_level"], ended["count"]) == ("warning", 2)
    assert sorted(entry.partition(": ")[2] for entry in ended["task_counts"]) == ["1 cancelled", "1 skipped"]
    assert ended["detail"].startswith("0 came to their end meanwhile; ")
    first, last = (record for record in kept.records if record.event in {WAITING, ENDED})
    assert (first.event, first.severity, last.event, last.severity) == (WAITING, 9, ENDED, 13)
    for record, line in ((first, waiting), (last, ended)):
        assert record.body == f"{record.event}: {line['detail']}"
        assert record.attributes["afterword.shutdown.runs"] == line["count"]
        assert list(record.attributes["afterword.shutdown.tasks"]) == line["task_counts"]
    assert first.attributes["background_task.age"] == waiting["age_s"]
    assert last.attributes["afterword.shutdown.duration"] == ended["duration_s"]


def test_what_is_left_is_told_as_lost(stage: InProcessStage):
    """What has neither ended nor been cancelled when the application is over is lost with its process."""

    async def main() -> None:
        hold = Hold()
        app = shop(stage, hold)
        requests: list[asyncio.Task[Any]] = []

        async def serve() -> None:
            requests.append(asyncio.create_task(call(app, "/export")))
            await wait_until_async(lambda: len(stage.lines("background_task.started")) == 1)

        await live(app, serve)
        hold.let_go.set()
        await requests[0]

    asyncio.run(main())
    [ended] = stage.lines(ENDED)
    assert sorted(entry.partition(": ")[2] for entry in ended["task_counts"]) == ["1 lost", "1 lost"]


def test_what_ends_in_time_is_cut_off_by_nobody(stage: InProcessStage):
    """If all that was waited for comes to its end, the second line says so, and is no warning."""

    async def main() -> None:
        hold = Hold()
        app = shop(stage, hold)
        requests: list[asyncio.Task[Any]] = []

        async def serve() -> None:
            requests.append(asyncio.create_task(call(app, "/export")))
            await wait_until_async(lambda: len(stage.lines("background_task.started")) == 1)
            ending.begin(app.__dict__["_afterword_account"])  # as the timer does
            hold.let_go.set()
            await requests[0]

        await live(app, serve)

    asyncio.run(main())
    [_], [ended] = stage.lines(WAITING), stage.lines(ENDED)
    assert (ended["log_level"], ended["count"], ended["task_counts"]) == ("info", 0, [])
    assert ended["detail"] == "2 came to their end meanwhile, and nothing was cut off"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_idle_end_says_nothing(stage: InProcessStage, backend: str):
    """Where nothing runs or waits, a shutdown has no line; nor have those of the applications after it."""

    async def main() -> None:
        if backend == "trio":
            app = stage.app()
            messages = iter(["lifespan.startup", "lifespan.shutdown"])

            async def receive() -> dict[str, str]:
                return {"type": next(messages)}

            async def send(_: Any) -> None: ...

            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
            return
        app = shop(stage, Hold())
        for _ in range(2):
            await live(app, lambda: call(app, "/mail"))

    anyio.run(main, backend=backend)
    assert stage.lines(WAITING) == stage.lines(ENDED) == []


def test_each_life_of_an_application_has_its_own_lines(stage: InProcessStage):
    """An application that is started again tells of its second end, too."""

    async def main() -> None:
        for _ in range(2):
            hold = Hold()
            app = shop(stage, hold)
            requests: list[asyncio.Task[Any]] = []

            async def serve(app: FastAPI = app, requests: list[Any] = requests) -> None:
                started = len(stage.lines("background_task.started"))
                requests.append(asyncio.create_task(call(app, "/export")))
                await wait_until_async(lambda: len(stage.lines("background_task.started")) > started)

            await live(app, serve)
            hold.let_go.set()
            await requests[0]

    asyncio.run(main())
    assert len(stage.lines(WAITING)) == len(stage.lines(ENDED)) == 2


def test_without_log_lines_there_are_none(stage: InProcessStage):
    """An application without lines has none of a shutdown, either."""

    async def main() -> None:
        hold = Hold()
        app = shop(stage, hold, logs=False)
        requests: list[asyncio.Task[Any]] = []

        async def serve() -> None:
            requests.append(asyncio.create_task(call(app, "/export")))
            await wait_until_async(lambda: len(stage.accounts.recorder.started_runs) == 1)

        await live(app, serve)
        hold.let_go.set()
        await requests[0]

    asyncio.run(main())
    assert stage.lines(WAITING) == stage.lines(ENDED) == []


def test_the_entries_of_a_line_are_bounded():
    """Of a hundred tasks the line names ten, and how many more there are."""
    assert shutdown.bounded([str(number) for number in range(100)]) == [*map(str, range(10)), "and 90 more"]
    assert shutdown.bounded(["one"]) == ["one"]


def test_what_is_usual_is_reckoned_as_prometheus_does():
    """The bound that 95 % stay below is interpolated within its bucket; above the last one nobody knows more."""
    assert p95([]) is None
    others = len(BOUNDS) - 1
    assert p95([0.0, *[0.0] * others]) is None
    assert p95([0, 0, 0, 0, 0, 50, 50, *[0] * (others - 6)]) == pytest.approx(0.475)  # 0.25 to 0.5, 9 tenths of it
    assert p95([100, *[0] * others]) == pytest.approx(0.00475)
    assert p95([*[0] * others, 3]) == 3840.0
