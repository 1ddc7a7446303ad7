"""Whatever a journal holds, a page gets something sensible, and not too much of it."""

from __future__ import annotations

import json
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterword._common.errors.exceptions import from_record
from afterword._common.model import Outcome, Reason, RequestInfo
from afterword._ledger.journal.history import Filter
from afterword._views import causes, now, requests, runs, summary, tasks
from afterword._views.feed import feed_of
from afterword._views.reader import JournalReader
from tests.support.journals import line_of, raised, write_ended

NOW = 1_800_000_000.0
MEGABYTE = 1 << 20
VIEWS: dict[str, Callable[[JournalReader], Any]] = {
    "summary": lambda reader: summary.view(reader, now=NOW),
    "causes": lambda reader: causes.view(reader, now=NOW),
    "tasks": lambda reader: tasks.view(reader, now=NOW),
    "requests": lambda reader: requests.view(reader, now=NOW),
    "runs": lambda reader: runs.page(reader, Filter(), limit=500, now=NOW),
    "running": lambda reader: runs.page(reader, Filter(), states=["running"], now=NOW),
    "now": lambda reader: now.view(reader, now=NOW),
}


@pytest.fixture
def reader(directory: Path) -> JournalReader:
    """Provide a reader of a journal that is not there yet."""
    return JournalReader(str(directory))


def size_of(answer: Any) -> int:
    """Return the bytes of an answer."""
    return len(json.dumps(answer, allow_nan=False))


@pytest.mark.parametrize("there", [False, True], ids=["missing", "empty"])
def test_an_empty_journal_has_answers(there: bool, directory: Path, reader: JournalReader):
    """Before the first run, and before there is a directory, each view answers that there is nothing."""
    if there:
        directory.mkdir()
    seen = {name: view(reader) for name, view in VIEWS.items()}
    assert set(seen["summary"]["outcomes"].values()) == {0}
    assert (seen["summary"]["causes"], seen["summary"]["processes"], seen["summary"]["pending"]) == ([], [], 0)
    assert "oldest_at" not in seen["summary"]["source"]
    assert seen["causes"] == {"causes": [], "total": 0, "truncated": False}
    assert seen["tasks"] == {"tasks": [], "total": 0, "truncated": False}
    assert seen["requests"] == {"requests": [], "more": False}
    assert seen["runs"] == seen["running"] == {"runs": [], "next": None}
    assert seen["now"]["processes"] == []
    assert runs.one(reader, "abc") is None
    assert feed_of(reader).poll() == ([], 0, 0, 0)


def test_a_journal_of_an_older_version_has_answers(directory: Path, reader: JournalReader):
    """A line of the first version, without the moments of its request, is told with what it has."""
    line = (
        b'{"told":1,"task_run":"0123456789abcdef0123456789abcdef","task":"mail","http_method":"POST",'
        b'"http_route":"/a","function":"shop.mail","scheduled_us":1799999990000000,'
        b'"parent":"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331","started_us":1799999991000000,'
        b'"reason":"exception","error_type":"ValueError","ended_us":1799999993000000,"outcome":"failed"}\n'
    )
    write_ended(directory, line, line.replace(b"0123456789abcdef", b"f" * 16, 1))
    [request] = VIEWS["requests"](reader)["requests"]
    assert (len(request["runs"]), "began_at" in request) == (2, False)
    [cause] = VIEWS["causes"](reader)["causes"]
    assert cause["detail"] == "it raised ValueError"
    assert VIEWS["tasks"](reader)["tasks"][0]["duration_s"]["p50"] == 2.0
    told = runs.one(reader, "0123456789abcdef0")
    assert told is not None
    assert len(told["others"]) == 1


@pytest.mark.slow
def test_ten_thousand_causes(directory: Path, reader: JournalReader):
    """The most frequent are told, and how many there are."""
    often = line_of("often", Outcome.DROPPED, at=NOW - 1, ran=None, reason=Reason.REQUEST_FAILED, detail="d")
    some = (
        line_of(
            f"task-{n:05}", Outcome.DROPPED, at=NOW - 5, ran=None, reason=Reason.REQUEST_FAILED, detail="x" * 900
        )
        for n in range(10_000)
    )
    write_ended(directory, *some, often, often)
    answer = VIEWS["causes"](reader)
    assert (len(answer["causes"]), answer["total"], answer["truncated"]) == (100, 10_001, False)
    assert answer["causes"][0]["task"] == "often"
    seen = VIEWS["summary"](reader)
    assert (len(seen["causes"]), seen["causes_total"]) == (20, 10_001)
    rows = VIEWS["tasks"](reader)
    assert (len(rows["tasks"]), rows["total"]) == (200, 10_001)
    assert rows["tasks"][0]["task"] == "often"
    for name, view in VIEWS.items():
        assert size_of(view(reader)) < 1.5 * MEGABYTE, name


def test_more_runs_than_are_looked_at(directory: Path, reader: JournalReader, monkeypatch: pytest.MonkeyPatch):
    """The newest are counted, and the answer says that there are more."""
    monkeypatch.setattr(causes, "MOST_RUNS", 10)
    monkeypatch.setattr(tasks, "MOST_RUNS", 10)
    monkeypatch.setattr(summary, "MOST_RUNS", 10)
    write_ended(directory, *(line_of(at=NOW - 20 + n, outcome=Outcome.CANCELLED) for n in range(11)))
    assert VIEWS["causes"](reader)["truncated"]
    assert VIEWS["summary"](reader)["truncated"]
    assert VIEWS["tasks"](reader)["truncated"]
    assert VIEWS["tasks"](reader)["tasks"][0]["total"] == 10
    assert VIEWS["summary"](reader)["outcomes"]["cancelled"] == 10


def test_a_request_with_thousands_of_tasks(directory: Path, reader: JournalReader):
    """The first hundred are told, and how many there are."""
    write_ended(directory, *(line_of(at=NOW - 50 + n / 100, began=NOW - 60, waited=1) for n in range(3000)))
    [request] = VIEWS["requests"](reader)["requests"]
    assert (len(request["runs"]), request["total"]) == (100, 3000)
    told = runs.one(reader, request["runs"][0]["task_run"])
    assert told is not None
    assert len(told["others"]) == 100


def test_a_megabyte_of_everything(directory: Path, reader: JournalReader):
    """Whatever wrote texts that long into a journal, an answer cuts each of them, a traceback in its middle."""
    long = "<script>\x1b\u202e" + "x" * MEGABYTE
    keys = {
        "told": 1,
        "task_run": "0123456789abcdef0123456789abcdef",
        "task": long,
        "http_method": long,
        "http_route": long,
        "function": long,
        "request_id": long,
        "reason": long,
        "detail": long,
        "error_type": long,
        "error": long,
        "scheduled_us": int(NOW - 10) * 1_000_000,
        "ended_us": int(NOW - 5) * 1_000_000,
        "outcome": "failed",
        "traceback": "Traceback (most recent call last):\n" + long + "\nthe end",
    }
    write_ended(directory, json.dumps(keys, separators=(",", ":")).encode() + b"\n")
    for name, view in VIEWS.items():
        answer = view(reader)
        assert size_of(answer) < 50_000, name
        assert "\x1b" not in json.dumps(answer, ensure_ascii=False)
    told = runs.one(reader, "0123456789ab")
    assert told is not None
    assert size_of(told) < 100_000
    assert told["run"]["traceback"].startswith("Traceback (most recent call last):\n<script>\\x1b\\u202exxx")
    assert told["run"]["traceback"].endswith("the end")


def test_five_hundred_long_runs_are_about_a_megabyte(directory: Path, reader: JournalReader):
    """The longest list of the longest texts that are written is still an answer."""
    error = raised("x" * 4000)
    request = RequestInfo("POST", "/" + "r" * 200, "i" * 128)
    line = {"outcome": Outcome.FAILED, "reason": Reason.EXCEPTION, "detail": "d" * 4000}
    write_ended(
        directory, *(line_of("t" * 200, at=NOW - 9, exc=error, request=request, **line) for _ in range(500))
    )
    answer = VIEWS["runs"](reader)
    assert len(answer["runs"]) == 500
    assert size_of(answer) < 1.5 * MEGABYTE


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_nothing(data: bytes):
    """Bytes that no Afterword has written are left out, and no view fails."""
    with tempfile.TemporaryDirectory() as directory:
        write_ended(Path(directory), data, b'{"told":1,', data, b"}\n", line_of(at=NOW - 1))
        reader = JournalReader(directory)
        for view in VIEWS.values():
            size_of(view(reader))
        assert VIEWS["summary"](reader)["outcomes"]["succeeded"] >= 1


@pytest.mark.parametrize("microseconds", [-1, 0, 1, (1 << 60) - 1])
def test_a_time_that_is_no_date(microseconds: int, directory: Path, reader: JournalReader):
    """Times of a damaged clock or file are no error."""
    times = f'"scheduled_us":{abs(microseconds)},"ended_us":{microseconds},"outcome":"failed"}}\n'
    write_ended(directory, b'{"told":1,"task_run":"0123456789abcdef0123456789abcdef","task":"t",', times.encode())
    for view in VIEWS.values():
        size_of(view(reader))


# --- what was written of an exception ----------------------------------------------------------------------------

PLUMBING = '  File "/lib/python3.12/site-packages/starlette/background.py", line 36, in run\n    await it()\n'
STANDARD = '  File "/usr/lib/python3.12/asyncio/tasks.py", line 3, in run\n    await it()\n          ^^^^\n'
WINDOWS = '  File "C:\\v\\Lib\\site-packages\\anyio\\to_thread.py", line 3, in run\n    await it()\n'
USERS = '  File "/home/me/starlette/shop.py", line 9, in send_mail\n    raise ValueError\n'
LIBRARY = '  File "/lib/python3.12/site-packages/httpx/_client.py", line 9, in get\n    raise ValueError\n'
HEADING = "Traceback (most recent call last):\n"


def test_a_traceback_begins_at_the_users_function():
    """Frames of the framework at the beginning are left out, those that the user's function has called are not."""
    assert from_record(HEADING + PLUMBING + STANDARD + WINDOWS + USERS + PLUMBING + "ValueError\n") == (
        HEADING + USERS + PLUMBING + "ValueError\n"
    )
    assert from_record(HEADING + PLUMBING + LIBRARY + "ValueError\n") == HEADING + LIBRARY + "ValueError\n"


def test_a_traceback_of_the_framework_alone_is_whole():
    """Where no frame is the user's, all are shown."""
    assert from_record(HEADING + PLUMBING + "ValueError: x\n") == HEADING + PLUMBING + "ValueError: x\n"


def test_each_traceback_of_a_chain_begins_at_the_users_function():
    """The cause has its own frames."""
    between = "KeyError\n\nThe above exception was the direct cause of the following exception:\n\n"
    chain = HEADING + PLUMBING + USERS + between + HEADING + STANDARD + USERS + "ValueError\n"
    assert from_record(chain) == HEADING + USERS + between + HEADING + USERS + "ValueError\n"


def test_a_traceback_of_this_python_is_understood():
    """What Python writes here is what is looked for."""
    exc = raised()
    written = "".join(traceback.format_exception(exc))
    assert from_record(written.replace(__file__, "/v/site-packages/x.py")).count("File") == written.count("File")
    code = compile("def mail(): raise ValueError\n", "/v/site-packages/starlette/background.py", "exec")
    place: dict[str, Any] = {}
    exec(code, place)
    try:
        place["mail"]()
    except ValueError as caught:
        inner = "".join(traceback.format_exception(caught))
    assert from_record(inner) == inner
    frame = inner[inner.index('  File "/v') : inner.index("ValueError")]
    assert from_record(inner.replace(HEADING, HEADING + frame)) == inner


@settings(deadline=None)
@given(st.text())
def test_a_text_that_is_no_traceback_is_as_it_was_told(text: str):
    """Any text is shown, as far as it is safe, and no longer than the bounds."""
    shown = from_record(text)
    assert len(shown) <= 40_000
    if text.isprintable():
        assert shown == text
