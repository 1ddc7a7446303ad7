"""A task that takes longer than its function allows is told once, while it runs, with where it stands."""

import asyncio
import math
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.middleware.base import BaseHTTPMiddleware

import afterword
from afterword._common import task_names
from afterword._ledger import runs as ledger
from afterword._setup import observers
from afterword._signals.loop import lag
from afterword._starlette import execution
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import call
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs
from tests.support.waiting import wait_until_async

SLOW = "background_task.slow"
SCRAPE = "/metrics"  # from which on the loop is watched


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often, and forget which functions other tests have declared."""
    monkeypatch.setattr(lag, "INTERVAL", 0.01)
    monkeypatch.setattr(lag, "_watches", type(lag._watches)())
    monkeypatch.setattr(task_names, "_slow_after", {})
    monkeypatch.setattr(task_names, "_code_names", {})


async def deliver(gate: asyncio.Event) -> None:
    """Wait for a mail server, as something that the task calls."""
    await gate.wait()


def connect(gate: threading.Event) -> None:
    """Wait for a mail server in a thread."""
    gate.wait(60)


def play(stage: InProcessStage, app: FastAPI, let_go: Callable[[], Any], *paths: str, lines: int = 1) -> None:
    """Serve requests until so many lines have been written, then let their tasks end, and look on for a while."""

    async def main() -> None:
        await call(app, SCRAPE)
        requests = [asyncio.create_task(call(app, path)) for path in paths or ("/",)]
        await wait_until_async(lambda: len(stage.lines(SLOW)) >= lines)
        watch, seen = lag._watches[asyncio.get_running_loop()], set[float]()
        await wait_until_async(lambda: len(seen) > 3 or seen.add(watch.due))
        let_go()
        await asyncio.gather(*requests)

    asyncio.run(main())


def test_an_async_task_is_told_once_with_what_it_awaits(stage: InProcessStage, kept_logs: KeptLogs):
    """Line and record have the run, its age, and the functions that await each other, without any value."""
    gate = asyncio.Event()

    @afterword.task("mail", slow_after=0.05)
    async def mail(secret: str) -> None:
        await deliver(gate)

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail, "a secret")

    app = stage.app(endpoint, metrics_path=SCRAPE, observers=[OpenTelemetryLogs(kept_logs.provider)])
    play(stage, app, gate.set)
    [line] = stage.lines(SLOW)
    [run] = stage.accounts.recorder.ended_runs
    assert (line["log_level"], line["task"], line["task_run"], line["trace_id"]) == (
        *("warning", "mail", run.id),
        run.trace_id,
    )
    assert (line["http_method"], line["http_route"]) == ("GET", "/")
    assert 0.05 <= line["age_s"] < run.duration + 0.001
    mailing, delivering, *_ = line["place"].split(" > ")
    assert mailing.startswith(f"{__name__}.test_an_async_task_is_told_once_with_what_it_awaits.<locals>.mail:")
    assert delivering.startswith(f"{__name__}.deliver:")
    assert "secret" not in str(line)
    assert "afterword." not in line["place"]
    [record] = (record for record in kept_logs.records if record.event == SLOW)
    assert (record.severity, record.trace_id) == (13, int(run.trace_id or "", 16))
    assert record.body == f"mail slow: {line['detail']}"
    assert (record.attributes["background_task.run.id"], record.attributes["background_task.age"]) == (
        *(run.id, line["age_s"]),
    )
    assert record.attributes["background_task.place"] == line["place"]
    assert "background_task.outcome" not in record.attributes


def test_a_look_walks_through_a_bounded_number_of_tasks(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """Of a task that is not among those walked through, the line is told all the same, without a place."""
    monkeypatch.setattr(execution, "_MOST_TASKS", 0)
    gate = asyncio.Event()

    @afterword.task(slow_after=0.05)
    async def mail() -> None:
        await gate.wait()

    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gate.set)
    [line] = stage.lines(SLOW)
    assert "place" not in line
    assert line["detail"] == "it still runs"


def test_a_sync_task_is_told_with_the_frames_of_its_thread(stage: InProcessStage):
    """Of a function in a worker thread, the line has what that thread is calling."""
    gate = threading.Event()

    @afterword.task(slow_after=1.0)  # by then, it has its thread
    def mail() -> None:
        connect(gate)

    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gate.set)
    [line] = stage.lines(SLOW)
    places = line["place"].split(" > ")
    assert places[0].partition(":")[0].endswith("<locals>.mail")
    assert places[1].startswith(f"{__name__}.connect:")
    assert places[2].startswith("threading.Event.wait:")


def test_a_task_without_a_thread_says_so(stage: InProcessStage):
    """A sync task that waits for a worker thread stands nowhere yet, and its line says what it waits for."""
    gate = threading.Event()

    @afterword.task(slow_after=0.05)
    def mail() -> None: ...

    app = stage.fastapi()

    @app.get("/hold")
    async def hold() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        await anyio.to_thread.run_sync(gate.wait, 60)

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)

    play(stage, stage.instrument(app, metrics_path=SCRAPE), gate.set, "/hold", "/")
    [line] = stage.lines(SLOW)
    assert "place" not in line
    assert "waits for a worker thread" in line["detail"]


def test_two_runs_of_one_function_are_told_apart(stage: InProcessStage):
    """Each of two runs has its own line, with where it stands itself, also behind a middleware with own tasks."""
    gates = [asyncio.Event(), asyncio.Event()]

    async def second(gate: asyncio.Event) -> None:
        await gate.wait()

    @afterword.task(slow_after=0.05)
    async def mail(number: int) -> None:
        await (second if number else deliver)(gates[number])

    app = stage.fastapi()

    @app.get("/{number}")
    async def endpoint(number: int, tasks: BackgroundTasks) -> None:
        tasks.add_task(mail, number)

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    stage.instrument(app, metrics_path=SCRAPE)
    play(stage, app, lambda: [gate.set() for gate in gates], "/0", "/1", lines=2)
    assert len({line["task_run"] for line in stage.lines(SLOW)}) == 2
    awaited = sorted(line["place"].split(" > ")[1].rpartition(":")[0] for line in stage.lines(SLOW))
    assert [name.rpartition(".")[2] for name in awaited] == ["deliver", "second"]


def test_who_says_nothing_is_not_looked_at(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """A function without ``slow_after`` is never told, however long it takes; where none has it, nobody looks."""
    looked: list[str] = []
    gates = [asyncio.Event(), asyncio.Event()]
    waiting = iter(gates)

    async def mail() -> None:
        await next(waiting).wait()

    @afterword.task(slow_after=0.05)
    async def report() -> None: ...

    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gates[0].set, lines=0)
    assert stage.lines(SLOW) == []
    task_names._slow_after.clear()
    monkeypatch.setattr("afterword._setup.observers.running", lambda: looked.append("looked") or [])
    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gates[1].set, lines=0)
    assert looked == []


class Mailing:
    """Says when its method is slow, and when it is itself, if it is called."""

    def __init__(self, gate: asyncio.Event) -> None:
        self.gate = gate

    @afterword.task(slow_after=0.05)
    async def mail(self) -> None:
        """Wait."""
        await self.gate.wait()

    @afterword.task(slow_after=0.05)
    async def __call__(self) -> None:
        """Wait."""
        await self.gate.wait()


class Bulk(Mailing):
    """Inherits both."""


@pytest.mark.parametrize(("func", "name"), [(lambda bulk: bulk.mail, "Bulk.mail"), (lambda bulk: bulk, "Bulk")])
def test_a_task_that_is_named_after_another_class_is_told(stage: InProcessStage, func: Any, name: str):
    """An inherited method, a callable object: it is slow when the function says so, whatever the run is called."""
    gate = asyncio.Event()
    play(stage, stage.app_with(func(Bulk(gate)), metrics_path=SCRAPE), gate.set)
    [line] = stage.lines(SLOW)
    assert line["task"] == f"{__name__}.{name}"
    assert f".{Mailing.__name__}." in line["place"]


def test_without_log_lines_nobody_looks(stage: InProcessStage):
    """An application without lines has none of slow tasks."""
    gate = asyncio.Event()

    @afterword.task(slow_after=0.001)
    async def mail() -> None:
        await gate.wait()

    play(stage, stage.app_with(mail, metrics_path=SCRAPE, logs=False), gate.set, lines=0)
    assert stage.lines(SLOW) == []


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        *((seconds, ValueError) for seconds in (0, -1.0, math.inf, math.nan)),
        *((seconds, TypeError) for seconds in ("1", True)),
    ],
)
def test_what_is_no_time_is_refused(seconds: Any, error: type[Exception]):
    """``slow_after`` is a number of seconds above 0; anything else is an error where it is written."""
    with pytest.raises(error, match="slow_after"):
        afterword.task(slow_after=seconds)


@pytest.mark.faults
def test_where_nobody_can_say_where_it_stands_it_is_told_all_the_same(
    stage: InProcessStage, monkeypatch: pytest.MonkeyPatch
):
    """If our own code fails on the way there, that is counted, and each line is written without the place."""
    gate = asyncio.Event()

    def frames(runs: Any) -> None:
        raise RuntimeError("odd")

    @afterword.task("mail", slow_after=0.001)
    async def mail() -> None:
        await gate.wait()

    monkeypatch.setattr("afterword._setup.observers.frames_of", frames)
    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gate.set, "/", "/", lines=2)
    assert stage.observer_errors("afterword") >= 1.0
    assert [line.get("place", line["detail"]) for line in stage.lines(SLOW)] == ["it still runs"] * 2
    assert stage.outcomes == [("mail", "succeeded")] * 2


def test_one_look_is_bounded(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """Of a dozen slow runs one look tells ten, in one walk, and the next one the others; each is told once."""
    gate, walks = asyncio.Event(), []
    original = observers.frames_of

    def frames(runs: Any) -> Any:
        found = original(runs)
        walks.append((len(runs), len(found)))
        return found

    @afterword.task("mail", slow_after=0.001)
    async def mail() -> None:
        await gate.wait()

    monkeypatch.setattr(observers, "frames_of", frames)
    monkeypatch.setattr(observers, "running", lambda: runs if len(runs := ledger.running()) == 12 else [])
    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gate.set, *["/"] * 12, lines=12)
    assert walks == [(10, 10), (2, 2)]
    assert len({line["task_run"] for line in stage.lines(SLOW)}) == len(stage.lines(SLOW)) == 12


def test_so_many_tasks_of_asyncios_are_walked_through(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """Beyond them, a slow run is told without where it stands."""
    gate = asyncio.Event()

    @afterword.task("mail", slow_after=0.001)
    async def mail() -> None:
        await gate.wait()

    monkeypatch.setattr(execution, "_MOST_TASKS", 0)
    play(stage, stage.app_with(mail, metrics_path=SCRAPE), gate.set)
    [line] = stage.lines(SLOW)
    assert line.get("place", line["detail"]) == "it still runs"
