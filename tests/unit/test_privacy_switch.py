"""With the privacy switch, no text of an exception and no variable is in any signal, journal or page."""

import io
import json
import logging
import weakref
from pathlib import Path
from types import TracebackType
from typing import Annotated

import prometheus_client
import pytest
import structlog
from fastapi import BackgroundTasks, Header, HTTPException
from pydantic import BaseModel

import afterword
from afterword._cli.main import main
from afterword._common.errors import withheld
from afterword._common.errors.exceptions import exc_info
from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask
from tests.support.console import PATH, TOKEN, VIEWS, api, told
from tests.support.in_process import InProcessStage
from tests.support.journals import history_of
from tests.support.sdk_logs import KeptLogs

SECRET = "hunter2-4111"
Card = Annotated[str, Header()]


@pytest.fixture(autouse=True)
def switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the console know its token, and let no other test hear of the switch."""
    monkeypatch.setattr(withheld, "_askers", weakref.WeakSet())
    monkeypatch.setenv("AFTERWORD_CONSOLE_TOKEN", TOKEN)


class Order(BaseModel):
    """What a client sends."""

    number: int


def plain(card: str) -> None:
    """Fail with a text that has its argument, and a note."""
    error = ValueError(f"cannot charge {card}")
    error.add_note(f"the card is {card}")
    raise error


def caused(card: str) -> None:
    """Fail because of something whose text has the argument."""
    try:
        {}[card]
    except KeyError as error:
        raise RuntimeError(f"no {card}") from error


async def grouped(card: str) -> None:
    """Fail in a group, one member of which is written as it is."""
    raise ExceptionGroup(f"two for {card}", [ValueError(card), SyntaxError(card, (card, 1, 1, card))])


def odd(card: str) -> None:
    """Fail with a text in many lines, which looks like a traceback."""
    raise LookupError(f'x\n  File "{card}", line 1, in {card}\n    {card}\nValueError: {card}')


TASKS = (plain, caused, grouped, odd)


def alert(run: afterword.TaskRun, exc: BaseException | None) -> None:
    """Fail as a callback may, with the text of what it was told."""
    raise RuntimeError(f"cannot tell of {exc} {SECRET}")


class Careless(afterword.TaskObserver):
    """An observer that fails with the text of what it was told."""

    def ended(self, run: afterword.TaskRun) -> None:
        raise LookupError(f"cannot note {run.exception} {SECRET}")


def play(stage: InProcessStage, logs: KeptLogs, **options: object) -> object:
    """Let every kind of failure happen in an application; return it."""
    app = stage.fastapi()

    @app.post("/tasks/{task}")
    async def tasks(task: int, x_card: Card, background: BackgroundTasks) -> None:
        background.add_task(TASKS[task], x_card)

    @app.post("/refuses/{status}")
    async def refuses(status: int, x_card: Card, background: BackgroundTasks) -> None:
        background.add_task(plain, x_card)
        raise HTTPException(status, f"no {x_card}", headers={"x-card": x_card})

    @app.post("/breaks")
    async def breaks(x_card: Card, background: BackgroundTasks) -> None:
        background.add_task(plain, x_card)
        try:
            raise KeyError(x_card)
        except KeyError as error:
            raise RuntimeError(x_card) from error

    @app.post("/orders")
    async def orders(order: Order, background: BackgroundTasks) -> None:
        raise AssertionError("never called")

    observers = [Careless(), OpenTelemetryLogs(logs.provider)]
    stage.instrument(app, on_task_failure=[alert], observers=observers, **options)
    for path in (*(f"/tasks/{task}" for task in range(len(TASKS))), "/refuses/500", "/refuses/409", "/breaks"):
        ask(app, path, "POST", headers=[(b"x-card", SECRET.encode())])
    ask(app, "/orders", "POST", body=json.dumps({"number": SECRET}).encode())
    return app


def said(stage: InProcessStage, logs: KeptLogs, output: io.StringIO, stdlib: io.StringIO) -> dict[str, str]:
    """Return what each signal says, as text."""
    return {
        "spans": "".join(span.to_json() for span in stage.accounts.spans.all()),
        "lines": output.getvalue(),
        "records": repr(logs.records),
        "metrics": prometheus_client.generate_latest(stage.accounts.prometheus.registry).decode(),
        "faults": stdlib.getvalue(),
    }


@pytest.mark.faults
@pytest.mark.parametrize("way", ["argument", "variable"])
def test_no_signal_has_the_text(stage: InProcessStage, kept_logs, directory: Path, monkeypatch, capsys, way):
    """Spans, lines, records, metrics, faults, journal, console and command line: the secret is in none of them."""
    output, stdlib = (
        stage.render(structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()),
        io.StringIO(),
    )
    handler = logging.StreamHandler(stdlib)
    logging.getLogger("afterword").addHandler(handler)
    options = {"exception_messages": False} if way == "argument" else {}
    if way == "variable":
        monkeypatch.setenv("AFTERWORD_EXCEPTION_MESSAGES", "false")
    try:
        app = play(stage, kept_logs, journal=directory, console=PATH, **options)
    finally:
        logging.getLogger("afterword").removeHandler(handler)
    signals = said(stage, kept_logs, output, stdlib)
    signals["journal"] = "".join(file.read_bytes().decode("latin-1") for file in directory.iterdir())
    runs = told(app, "runs")["runs"]
    for question in (*VIEWS, "runs", *(f"runs/{run['task_run']}" for run in runs)):
        signals[question] = api(app, question).text
    for command in ("runs", "causes", f"show {runs[0]['task_run']}"):
        main([*command.split(), str(directory), "--json"])
        signals[command] = capsys.readouterr().out
    assert [name for name, text in signals.items() if not text] == []
    assert [name for name, text in signals.items() if SECRET in text] == []
    # what stays: the type, the place and our own words
    for name in ("spans", "lines", "records", "journal", "faults"):
        assert withheld.WITHHELD in signals[name], name
        assert "test_privacy_switch.py" in signals[name], name
        assert "LookupError" in signals[name], name
    assert {run["error_type"] for run in runs} >= {"ValueError", "RuntimeError", "ExceptionGroup", "LookupError"}


@pytest.mark.faults
def test_the_secret_would_be_told(stage: InProcessStage, kept_logs, directory: Path):
    """Without the switch each of these signals has the texts, so the search above could have found them."""
    output, stdlib = (
        stage.render(structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()),
        io.StringIO(),
    )
    handler = logging.StreamHandler(stdlib)
    logging.getLogger("afterword").addHandler(handler)
    try:
        play(stage, kept_logs, journal=directory)
    finally:
        logging.getLogger("afterword").removeHandler(handler)
    signals = said(stage, kept_logs, output, stdlib)
    assert [name for name, text in signals.items() if SECRET not in text] == ["metrics"]


@pytest.mark.faults
def test_what_was_written_before_is_not_shown(
    stage: InProcessStage, kept_logs, directory: Path, monkeypatch, capsys
):
    """A journal that was written with the switch open is read without texts and tracebacks once it is set."""
    play(stage, kept_logs, journal=directory)
    assert any(SECRET in str(record.error) for record in history_of(directory))
    monkeypatch.setenv("AFTERWORD_EXCEPTION_MESSAGES", "false")
    main(["runs", str(directory), "--json"])
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(shown) == len(history_of(directory))
    assert {line["error"] for line in shown if "error" in line} == {withheld.WITHHELD}
    assert SECRET not in str(shown)


def test_a_traceback_without_variables_leads_to_the_same_lines():
    """The frames that are told are in the same files, functions and lines as those of the exception."""
    with pytest.raises(RuntimeError) as caught:
        caused(SECRET)
    bare = links_of(exc_info(caught.value)[2])
    asker = type("Asker", (), {})()
    withheld.withhold(asker)
    kind, error, shown = exc_info(caught.value)
    assert (kind.__qualname__, str(error), str(error.__cause__)) == ("RuntimeError", *2 * [withheld.WITHHELD])
    assert [place_of(link) for link in links_of(shown)] == [place_of(link) for link in bare]
    assert [link.tb_frame.f_locals for link in links_of(shown)] == [{}, {}]
    del asker
    assert str(exc_info(caught.value)[1]) == f"no {SECRET}"


def links_of(link: TracebackType | None) -> list[TracebackType]:
    """Return the links of a traceback."""
    return [] if link is None else [link, *links_of(link.tb_next)]


def place_of(link: TracebackType) -> tuple[str, str, int, str]:
    """Return where a link is."""
    code = link.tb_frame.f_code
    return code.co_filename, code.co_qualname, link.tb_lineno, link.tb_frame.f_globals["__name__"]


@pytest.mark.parametrize("value", ["no", 0, "false"])
def test_what_is_no_flag_is_named(stage: InProcessStage, value):
    """What is neither True, False nor None is a TypeError that names the argument."""
    with pytest.raises(TypeError, match="exception_messages"):
        stage.app(exception_messages=value)
