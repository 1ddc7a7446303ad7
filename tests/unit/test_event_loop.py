"""A loop that is blocked: how often, for how long, and by whom."""

import asyncio
import math
import threading
import time
from pathlib import Path

import anyio
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

import afterword
from afterword._common import semconv, task_names
from afterword._signals.loop import blocked, lag
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import call
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs
from tests.support.waiting import wait_until, wait_until_async

SCRAPE = "/metrics"
BLOCKED = f"{semconv.LOOP_BLOCKED.prometheus}_total"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often, and tell of less; and forget what the tests before were told."""
    monkeypatch.setattr(lag, "INTERVAL", 0.01)
    monkeypatch.setattr(lag, "_watches", type(lag._watches)())
    monkeypatch.setattr(task_names, "_code_names", {})  # other tests fill it
    monkeypatch.setattr(blocked, "BLOCKED", 0.3)
    monkeypatch.setattr(blocked, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(blocked, "_LOOK_AFTER", 0.05)
    monkeypatch.setattr(blocked, "_thread", blocked._Thread())


async def compress() -> None:
    """Hold the loop up, as an async task does that calls what is not."""
    time.sleep(0.5)  # noqa: ASYNC251  what this is about


async def forget() -> None:
    """Hold the loop up for less."""
    time.sleep(0.4)  # noqa: ASYNC251  what this is about


def lags(app: FastAPI, *paths: str) -> None:
    """Ask an application for these paths on one loop, from a scrape on, and let its timer come back after each."""

    async def main() -> None:
        for path in (SCRAPE, *paths):
            await call(app, path)
            await until_it_ticks()

    asyncio.run(main())


async def until_it_ticks() -> None:
    """Wait until the timer has come back after now."""
    watch = lag._watches[asyncio.get_running_loop()]
    due = watch.due
    await wait_until_async(lambda: watch.due != due)


def over(stage: InProcessStage, seconds: str) -> float:
    """Return how many lags were longer."""
    name = semconv.LOOP_LAG.prometheus
    count, below = stage.sample(f"{name}_count"), stage.sample(f"{name}_bucket", le=seconds)
    assert count is not None
    assert below is not None
    return count - below


def test_the_task_that_holds_the_loop_up_is_named(stage: InProcessStage):
    """A task that blocks the loop is counted as one long lag, and the line says which, where, and what to do."""
    app = stage.app_with(compress, metrics_path=SCRAPE)
    lags(app, "/", "/other")
    assert over(stage, "0.25") == 1.0
    [line] = stage.lines("event_loop.blocked")
    run = stage.accounts.recorder.run("compress")
    assert (line["log_level"], line["task"], line["task_run"]) == ("warning", run.name, run.id)
    assert (line["http_route"], line["trace_id"]) == ("/", run.trace_id)
    assert line["place"].startswith(f"{compress.__module__}.compress:")
    assert 0.3 <= line["duration_s"] < 30
    assert "to_thread" in line["detail"]
    assert (stage.sample(BLOCKED, background_task_name=run.name) or 0) >= 0.3
    [point] = stage.accounts.meter.points(semconv.LOOP_BLOCKED.name)
    assert dict(point.attributes) == {semconv.TASK_NAME: run.name}
    assert point.value == stage.sample(BLOCKED, background_task_name=run.name)


def test_opentelemetry_is_told_the_same_once(stage: InProcessStage, kept_logs: KeptLogs):
    """Where OpenTelemetry's logs are on, a record says what the line does, on the run's span."""
    observers = [OpenTelemetryLogs(kept_logs.provider), OpenTelemetryLogs(kept_logs.provider)]
    lags(stage.app_with(compress, metrics_path=SCRAPE, observers=observers), "/")
    [line] = stage.lines("event_loop.blocked")
    [record] = (record for record in kept_logs.records if record.event == "event_loop.blocked")
    run = stage.accounts.recorder.run("compress")
    assert (record.severity, record.trace_id) == (13, int(run.trace_id or "", 16))
    assert record.body == f"{run.name} blocked: {line['detail']}"
    assert record.attributes["afterword.event_loop.lag"] == line["duration_s"]
    assert record.attributes["background_task.run.id"] == line["task_run"]
    assert (record.attributes["background_task.place"], record.attributes["http.route"]) == (line["place"], "/")


def test_opentelemetry_is_told_without_lines(stage: InProcessStage, kept_logs: KeptLogs):
    """Without log lines OpenTelemetry is told, too, also of what is no task, unless its level is higher."""

    async def endpoint() -> None:
        time.sleep(0.5)  # noqa: ASYNC251  what this is about

    quiet = KeptLogs()
    observers = [OpenTelemetryLogs(kept_logs.provider), OpenTelemetryLogs(quiet.provider, level="error")]
    lags(stage.app(endpoint, metrics_path=SCRAPE, logs=False, observers=observers), "/")
    [record] = kept_logs.records
    assert record.body.startswith(
        "event_loop.blocked: nothing else in this process could go on meanwhile; no background"
    )
    assert (record.event, record.trace_id) == ("event_loop.blocked", 0)
    assert ".endpoint:" in record.attributes["background_task.place"]
    assert stage.lines("event_loop.blocked") == quiet.records == []


def test_whoever_else_holds_it_up_is_told_by_the_place(stage: InProcessStage):
    """An endpoint that blocks the loop is no task: the line has the place in the user's code alone."""

    async def endpoint() -> None:
        time.sleep(0.5)  # noqa: ASYNC251  what this is about

    lags(stage.app(endpoint, metrics_path=SCRAPE), "/")
    [line] = stage.lines("event_loop.blocked")
    assert "task" not in line
    assert ".endpoint:" in line["place"]
    assert "fastapi" not in line["place"]
    assert "no background task" in line["detail"]
    assert (stage.sample(BLOCKED, background_task_name="") or 0) >= 0.3


def test_a_minute_has_one_line(stage: InProcessStage, monkeypatch):
    """After a line there is none for a minute; then there is one of the longest time that was not told."""
    app = stage.app_with(compress, forget, metrics_path=SCRAPE)
    lags(app, "/")
    assert over(stage, "0.25") >= 1
    [first] = stage.lines("event_loop.blocked")

    async def main() -> None:
        await call(app, SCRAPE)
        for path in ("/", "/"):
            await call(app, path)
            await until_it_ticks()
        assert len(stage.lines("event_loop.blocked")) == 1
        monkeypatch.setattr(blocked, "BLOCKED", math.inf)  # a busy machine may hold it up, too
        monkeypatch.setattr(blocked, "_TELL_SECONDS", 0.0)
        await until_it_ticks()
        await until_it_ticks()

    asyncio.run(main())
    lines = stage.lines("event_loop.blocked")
    assert len(lines) == 2
    assert lines[1]["duration_s"] >= 0.4
    assert first["task"].endswith("compress")


def test_what_only_waits_is_not_told(stage: InProcessStage):
    """A task that awaits for long lets the loop go on: no lag, no line."""

    async def naps() -> None:
        await asyncio.sleep(0.6)

    lags(stage.app_with(naps, metrics_path=SCRAPE), "/")
    assert stage.lines("event_loop.blocked") == []
    assert stage.sample(BLOCKED) is None


def test_a_loop_is_watched_from_the_lifespan_on(stage: InProcessStage):
    """Where there is a lifespan, nobody has to scrape first; both together make one watch."""
    app = stage.app(metrics_path=SCRAPE)
    seen: list[int] = []

    async def main() -> None:
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            message = next(messages)
            if message == "lifespan.shutdown":
                seen.append(len(lag._watches))
                await call(app, SCRAPE)
                seen.append(len(lag._watches))
            return {"type": message}

        async def send(message: object) -> None:
            pass

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    asyncio.run(main())
    assert seen == [1, 1]


def test_nobody_is_watched_after_the_end(stage: InProcessStage):
    """Once an application is no longer instrumented, its timer does not come back, and the thread ends."""
    app, before = stage.app(metrics_path=SCRAPE), set(threading.enumerate())

    async def main() -> None:
        await call(app, SCRAPE)
        await until_it_ticks()
        assert "afterword-loops" in names_of(set(threading.enumerate()) - before)
        afterword.uninstrument(app)
        loop = asyncio.get_running_loop()
        await wait_until_async(lambda: loop not in lag._watches)

    asyncio.run(main())
    wait_until(lambda: "afterword-loops" not in names_of(set(threading.enumerate()) - before))


def test_the_thread_ends_with_its_loops(stage: InProcessStage):
    """When a loop is closed, nobody looks after it, though its application goes on being instrumented."""
    app, before = stage.app(metrics_path=SCRAPE), set(threading.enumerate())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call(app, SCRAPE))
    assert "afterword-loops" in names_of(set(threading.enumerate()) - before)
    loop.close()
    wait_until(lambda: "afterword-loops" not in names_of(set(threading.enumerate()) - before))
    assert loop.is_closed()  # and kept until now


def names_of(threads: set[threading.Thread]) -> set[str]:
    """Return the names of threads."""
    return {thread.name for thread in threads}


@pytest.mark.parametrize("options", [{"metrics": False, "logs": False}], ids=["silence"])
def test_nothing_is_watched_that_nobody_is_told_of(stage: InProcessStage, options):
    """Without metrics and logs there is no timer."""
    app = stage.app(**options)
    asyncio.run(call(app, "/"))
    assert len(lag._watches) == 0


def test_trio_is_left_alone(stage: InProcessStage):
    """Trio's loop has no timers of ours, and a scrape there is answered as ever."""
    app = stage.app(metrics_path=SCRAPE)
    answer = anyio.run(call, app, SCRAPE, backend="trio")
    assert answer.status == 200
    assert len(lag._watches) == 0


def test_a_metric_that_fails_stops_nothing(stage: InProcessStage, monkeypatch):
    """A listener that raises is passed over: the loop's next lags are counted all the same."""

    class Odd:
        def lagged(self, seconds: float) -> None:
            raise RuntimeError("full")

    odd = Odd()
    lag.listeners.add(odd)
    lags(stage.app_with(compress, metrics_path=SCRAPE), "/")
    assert over(stage, "0.25") == 1.0


def test_several_processes_count_in_their_files(tmp_path: Path, monkeypatch):
    """With a directory for several processes, the lags and the ages are in the files that all of them share."""
    from prometheus_client.multiprocess import MultiProcessCollector

    from afterword._ledger import ages
    from afterword._signals.multiprocess import directory
    from afterword._signals.prometheus import series_of

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(directory, "several_processes", lambda: True)
    monkeypatch.setattr("afterword._signals.prometheus.several_processes", lambda: True)
    series = series_of(CollectorRegistry(), ages.oldest_ages)
    series.lagged(0.4)
    series.blocked(1.5, "mail")
    monkeypatch.setitem(ages._seen, ("mail", "starlette"), None)
    assert series.gauges is not None
    series.gauges.refresh()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(tmp_path))
    assert registry.get_sample_value(f"{semconv.LOOP_LAG.prometheus}_sum") == 0.4
    assert registry.get_sample_value(f"{semconv.LOOP_LAG.prometheus}_bucket", {"le": "0.5"}) == 1.0
    assert registry.get_sample_value(BLOCKED, {"background_task_name": "mail"}) == 1.5
    labels = {"background_task_name": "mail", "background_task_engine": "starlette"}
    assert registry.get_sample_value(semconv.RUNNING_AGE.prometheus, labels) == 0.0


def test_a_loop_that_nobody_runs_is_not_blocked(stage: InProcessStage):
    """Between two runs of one loop its thread does something else: no lag, no line, and nothing seen of it."""
    app = stage.app(metrics_path=SCRAPE)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(call(app, SCRAPE))
    watch = lag._watches[loop]
    loop.run_until_complete(until_it_ticks())
    wait_until(lambda: watch._stood_still)  # and so for longer than is told
    wait_until(lambda: time.monotonic() - watch.due > 1)
    loop.run_until_complete(until_it_ticks())
    loop.close()
    # a busy machine may hold a loop up while it runs, but for less, and elsewhere
    places = [held.place for held in watch._blockages._seen]
    places += [line.get("place", "") for line in stage.lines("event_loop.blocked")]
    assert [place for place in places if "wait_until:" in place] == []
    assert over(stage, "1.0") == 0.0


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    """A process that had no thread to spare for the first loop looks after the next one, and after both."""
    faults, start = iter([RuntimeError("can't start new thread")]), threading.Thread.start
    looked: list[str] = []

    def starting(thread: threading.Thread) -> None:
        for fault in faults:
            raise fault
        start(thread)

    class Loop:
        thread = 0

        def __init__(self, name: str) -> None:
            self.name = name

        def overdue(self) -> float:
            looked.append(self.name)
            return 0.0

        def is_over(self) -> bool:
            return self.name in looked

    monkeypatch.setattr(threading.Thread, "start", starting)
    thread, first, second = blocked._Thread(), Loop("first"), Loop("second")
    thread.look_after(first, blocked.Blockages(list))
    assert looked == []
    thread.look_after(second, blocked.Blockages(list))
    wait_until(lambda: set(looked) == {"first", "second"})


class Packing:
    """A callable object, and one with methods, that hold the loop up."""

    async def __call__(self) -> None:
        await compress()

    async def method(self) -> None:
        await compress()


class Wrapping(Packing):
    """Inherits what is run."""


async def renamed() -> None:
    """Hold the loop up under another name."""
    await compress()


renamed.__qualname__ = "pack"


@pytest.mark.parametrize(
    ("func", "task", "where"),
    [
        (Packing(), "Packing", "Packing.__call__"),
        (Wrapping().method, "Wrapping.method", "Packing.method"),
        (renamed, "pack", "renamed"),
    ],
)
def test_a_task_whose_code_has_another_name_is_named_too(stage: InProcessStage, func, task: str, where: str):
    """A callable object, an inherited method, a function that was renamed: each is who holds the loop up."""
    lags(stage.app_with(func, metrics_path=SCRAPE), "/")
    [line] = stage.lines("event_loop.blocked")
    assert line["task"] == f"{__name__}.{task}"
    assert line["place"].startswith(f"{__name__}.{where}:")
