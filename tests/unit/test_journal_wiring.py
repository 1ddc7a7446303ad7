"""An application's journal: how it is switched on, when it looks, what it never stores."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

import afterword
from afterword._ledger.instrumentation import get_instrumentation
from afterword._ledger.journal.journal import Journal
from afterword._setup.environment import journal_limits
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.journals import find, history_of, started
from tests.support.sdk_logs import KeptLogs
from tests.support.story import succeeded
from tests.support.waiting import wait_until_async


def test_it_is_off_unless_it_is_asked_for(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """Without a directory there is no observer more, and no journal."""
    app = stage.app_with(stage.works("mail"))
    kept = afterword._ledger.instrumentation.get_instrumentation(app)  # type: ignore[attr-defined]
    assert kept.journal is None
    assert not [seen for seen in kept.ledger.observers if "journal" in type(seen).__module__]


@pytest.mark.parametrize("way", ["argument", "path", "variable"])
def test_every_run_is_written_down(
    way: str, stage: InProcessStage, directory: Path, monkeypatch: pytest.MonkeyPatch
):
    """With a directory, as an argument or a variable, each run is in the history, and told as ever."""
    if way == "variable":
        monkeypatch.setenv("AFTERWORD_JOURNAL", str(directory))
    options: dict[str, Any] = {"argument": {"journal": str(directory)}, "path": {"journal": directory}}.get(
        way, {}
    )
    app = stage.app_with(stage.works("mail"), **options)
    assert ask(app).status == 200
    [record] = history_of(directory)
    assert (record.run, record.outcome) == (stage.accounts.recorder.run("mail").id, "succeeded")
    stage.assert_story(succeeded("mail"))


def test_without_code_as_with_it(stage: InProcessStage, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """`opentelemetry-instrument` takes the directory from the variable, too."""
    monkeypatch.setenv("AFTERWORD_JOURNAL", str(directory))
    app = stage.fastapi()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))

    from afterword.instrumentor import BackgroundTaskInstrumentor

    BackgroundTaskInstrumentor.instrument_app(app, registry=CollectorRegistry(), metrics_path=None)
    try:
        assert ask(app).status == 200
    finally:
        afterword.uninstrument(app)
    assert [record.outcome for record in history_of(directory)] == ["succeeded"]


def test_the_bounds_are_variables(monkeypatch: pytest.MonkeyPatch):
    """How much is kept is read from the environment, in runs, hours and MiB."""
    for name, value in (("RUNS", "5"), ("HOURS", "2"), ("MB", "3")):
        monkeypatch.setenv(f"AFTERWORD_JOURNAL_{name}", value)
    limits = journal_limits()
    assert (limits.runs, limits.seconds, limits.size) == (5, 7200.0, 3 << 20)


@pytest.mark.parametrize(
    ("path", "error"), [(7, TypeError), (b"x", TypeError), ("", ValueError), ("a\0", ValueError)]
)
def test_a_bad_path_is_an_error_of_the_caller(path: Any, error: type[Exception], stage: InProcessStage):
    """What is no path is an error that names the argument."""
    with pytest.raises(error, match=r"^journal: "):
        afterword.instrument(stage.fastapi(), journal=path)


# --- when it is looked for ---------------------------------------------------------------------------------------


async def live(app: Any, at_work: Callable[[], Any]) -> None:
    """Play a lifespan, as a server does, and do something between its start and its end."""
    received = asyncio.Queue[dict[str, str]]()
    answered = asyncio.Queue[str]()

    async def send(message: Any) -> None:
        await answered.put(message["type"])

    lifespan = asyncio.create_task(app({"type": "lifespan", "state": {}}, received.get, send))
    await received.put({"type": "lifespan.startup"})
    assert await answered.get() == "lifespan.startup.complete"
    await at_work()
    await received.put({"type": "lifespan.shutdown"})
    assert await answered.get() == "lifespan.shutdown.complete"
    await lifespan


def test_the_dead_are_told_of_at_the_start(stage: InProcessStage, directory: Path, left: Any):
    """An application that starts again tells what its former life has lost, before anybody asks for anything."""
    [run] = left(started)
    app = stage.app(journal=directory)

    async def wait() -> None:
        await asyncio.wait_for(wait_until_async(lambda: stage.lines("background_task.lost")), 20)

    asyncio.run(live(app, wait))
    assert [line["task_run"] for line in stage.lines("background_task.lost")] == [run.id]


def test_the_dead_are_told_of_before_the_end(
    stage: InProcessStage, directory: Path, left: Any, monkeypatch: pytest.MonkeyPatch
):
    """What died a moment before the end of the lifespan is told by then, and in time for the last flush."""
    monkeypatch.setattr(Journal, "start_up", lambda _: None)  # nobody else finds it
    [run] = left(started)
    app = stage.app(journal=directory)

    async def nothing() -> None: ...

    asyncio.run(live(app, nothing))
    assert [line["task_run"] for line in stage.lines("background_task.lost")] == [run.id]
    assert len(stage.accounts.spans.of_runs()) == 1


def test_a_scrape_finds_the_dead_first(stage: InProcessStage, directory: Path, left: Any):
    """The numbers of a scrape have what died before it."""
    left(started)
    app = stage.app(journal=directory)
    assert (
        'background_task_lost_total{background_task_engine="starlette",background_task_name="mail"} 1.0'
        in ask(app, "/metrics").text
    )


# --- several applications with one journal ---------------------------------------------------------------------


def test_one_application_tells_of_the_dead(stage: InProcessStage, directory: Path, left: Any):
    """Of applications that share a journal, the last one tells each run, once, whichever of them looks."""
    runs = left(started, started)
    first, last = KeptLogs(), KeptLogs()
    apps = [
        stage.app(journal=directory, observers=[OpenTelemetryLogs(kept.provider)], metrics_path=None)
        for kept in (first, last)
    ]
    for app in apps:
        find(app)
    told = Counter(record.attributes["background_task.run.id"] for record in last.records)
    assert told == Counter(run.id for run in runs)
    assert first.records == []
    assert len(stage.lines("background_task.lost")) == len(stage.accounts.spans.of_runs()) == 2
    assert stage.sample("background_task_lost_total", background_task_name="mail") == 2


@pytest.mark.parametrize("how", ["uninstrumented", "collected", "instrumented anew"])
def test_an_application_that_has_left_tells_nothing(how: str, stage: InProcessStage, directory: Path, left: Any):
    """When the last one leaves, the one before it tells; an application that is instrumented anew is one."""
    [run] = left(started)
    first, last = KeptLogs(), KeptLogs()
    app = stage.app(journal=directory, observers=[OpenTelemetryLogs(first.provider)], metrics_path=None)
    other = stage.app(journal=directory, observers=[OpenTelemetryLogs(last.provider)], metrics_path=None)
    in_a_request = []
    if how == "uninstrumented":
        in_a_request.append(get_instrumentation(other))
        afterword.uninstrument(other)
    elif how == "collected":
        stage.instrumented.remove(other)
        del other
        gc.collect()
    else:
        stage.instrument(
            app, journal=directory, observers=[OpenTelemetryLogs(first.provider)], metrics_path=None, logs=False
        )
    find(app)
    assert [record.attributes["background_task.run.id"] for record in first.records] == [run.id]
    assert last.records == []


# --- what is not stored ------------------------------------------------------------------------------------------

SECRET = "-".join(["hush"] * 3)  # as it stands in no line of source, which a traceback may quote


class Order(BaseModel):
    """A body that is validated."""

    number: int


def written(directory: Path) -> bytes:
    """Return all that is in the journal's files."""
    return b"".join(file.read_bytes() for file in directory.iterdir())


def test_no_secret_is_in_any_file(stage: InProcessStage, directory: Path):
    """Arguments, local variables, the input of a validation, headers, a query: none is in the journal's files."""
    app = stage.fastapi()

    def charge(card: str) -> None:
        pin = f"{SECRET}-local-{card[-1]}"
        Order.model_validate({"number": pin + SECRET})

    async def mail(address: str, *, password: str) -> None:
        token = "secret-token"
        raise RuntimeError(f"refused after {len(address + password + token)} characters")

    async def held(card: str) -> None:
        await asyncio.sleep(0)

    @app.post("/orders/{number}")
    async def order(number: str, body: Order, tasks: BackgroundTasks) -> None:
        tasks.add_task(charge, f"{SECRET}-7")

    @app.post("/mails")
    async def mails(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail, SECRET, password=SECRET)
        tasks.add_task(held, SECRET)

    stage.instrument(app, journal=directory)
    headers = [(b"authorization", f"Bearer {SECRET}".encode()), (b"cookie", f"session={SECRET}".encode())]
    json = [*headers, (b"content-type", b"application/json")]
    visit = partial(ask, app, method="POST", headers=json)
    visit(f"/orders/{SECRET}?key={SECRET}", body=f'{{"number": 1, "note": "{SECRET}"}}'.encode())
    visit("/orders/7", body=f'{{"number": "{SECRET}"}}'.encode())
    visit("/mails", body=b"{}")
    assert {record.outcome for record in history_of(directory)} == {"failed", "skipped"}
    assert b"refused after" in written(directory)
    assert SECRET.encode() not in written(directory)


def test_a_secret_in_flight_is_in_no_file(stage: InProcessStage, directory: Path):
    """A slot has no argument, either, while the task runs."""
    seen: list[bytes] = []

    async def mail(address: str) -> None:
        seen.append(written(directory))

    app = stage.fastapi()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail, SECRET)

    stage.instrument(app, journal=directory)
    ask(app, f"/?key={SECRET}")
    assert b"mail" in seen[0]
    assert SECRET.encode() not in seen[0]
