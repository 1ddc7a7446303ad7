"""Whatever is in the directory, the command line answers without a traceback."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterword._ledger.journal import layout, lines
from tests.support.command_line import Answer, afterword
from tests.support.journals import head

ID, OTHER = "01a22afa447fc1867969", "01a22afa447fc186796a"
RUN = "0af7651916cd43dd8448eb211c80319c"
COMMANDS = [
    ("runs",),
    ("runs", "--outcome", "failed", "--since", "1d"),
    ("causes",),
    ("now",),
    ("show", RUN),
    ("show", "0"),
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(RUN)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
KEYS = (
    "task",
    "task_run",
    "scheduled_us",
    "started_us",
    "ended_us",
    "duration_us",
    "outcome",
    "reason",
    "parent",
    "error",
)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """Return a line as the journal writes it, with any values, or one that is damaged."""
    sound = {"task_run": RUN, "task": "mail", "scheduled_us": 1, "ended_us": 2, "outcome": "failed"}
    keys = sound | draw(st.dictionaries(st.sampled_from(KEYS), values, max_size=5))
    text = lines.LINE_BEGINS + json.dumps(keys).encode()[1:] + b"\n"
    if draw(st.booleans()):
        return text
    at, junk = draw(st.integers(0, len(text))), draw(st.binary(max_size=5))
    return text[:at] + junk + text[at + len(junk) :]


@st.composite
def live(draw: st.DrawFn) -> bytes:
    """Return a file of what is in flight, with any numbers in its head and any slots."""
    numbers = st.floats() | st.just(1.8e9)
    made = head(process=ID, created=draw(numbers), alive=draw(numbers), pid=draw(st.integers(0, 2**32 - 1)))
    slots = b""
    for text in draw(st.lists(written(), max_size=3)):
        state = draw(st.binary(min_size=1, max_size=1) | st.sampled_from([b"\1", b"\2"]))
        started = layout.STARTED.pack(
            draw(st.floats()), draw(st.binary(max_size=32)), draw(st.binary(max_size=16)), draw(st.booleans())
        )
        slot = state.ljust(layout.STARTED_AT, b"\0") + started + text.rstrip(b"}\n") + b"\n"
        slots += slot[: layout.SLOT_SIZE].ljust(layout.SLOT_SIZE, b"\0")
    return made.packed().ljust(layout.HEAD_SIZE, b"\0") + slots


def ask_all(directory: Path) -> list[Answer]:
    """Ask every command in every form; check that each ends as a command does."""
    answers = []
    for command in COMMANDS:
        for form in ("--json", "--text"):
            answer = afterword(*command, directory, form)
            assert answer.code in (0, 1, 2)
            assert "Traceback" not in answer.err
            assert [character for character in answer.out if ord(character) < 32 and character != "\n"] == []
            answers.append(answer)
    return answers


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    segment=st.lists(written(), max_size=4).map(b"".join) | st.binary(),
    in_flight=live() | st.binary(max_size=5000),
    other=st.binary(max_size=200),
)
def test_nonsense_in_files_is_no_traceback(segment: bytes, in_flight: bytes, other: bytes):
    """Damaged, torn and invented files lead to an answer or to one line."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / layout.segment_file(ID, 0)).write_bytes(segment)
        (directory / layout.live_file(ID)).write_bytes(in_flight)
        (directory / layout.lost_file(OTHER)).write_bytes(segment + other)
        (directory / layout.live_file(OTHER)).write_bytes(other)
        ask_all(directory)


def test_other_things_than_files_are_left_out(tmp_path: Path):
    """A link, a named pipe and a directory with names of ours are neither followed nor waited for."""
    secret = tmp_path / "secret"
    secret.write_text('{"told":1,"task_run":"secret"}\n')
    directory = tmp_path / "journal"
    directory.mkdir()
    os.mkfifo(directory / layout.segment_file(ID, 1))
    os.mkfifo(directory / layout.live_file(ID))
    (directory / layout.segment_file(ID, 2)).symlink_to(secret)
    (directory / layout.live_file(OTHER)).symlink_to("/dev/zero")
    (directory / layout.segment_file(OTHER, 1)).mkdir()
    (directory / "\udcff".encode(errors="surrogateescape").decode(errors="surrogateescape")).touch()
    assert all(answer.out == "" for answer in ask_all(directory))


def test_a_directory_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the system refuses, its reason is the answer."""

    def refused(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(layout.os, "listdir", refused)
    for answer in ask_all(tmp_path):
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == f"afterword: {tmp_path}: Permission denied\n"


def test_what_a_file_says_cannot_move_the_cursor(tmp_path: Path):
    """A line that somebody else wrote, with control characters and times of no calendar, is shown escaped."""
    keys = {"task_run": RUN, "task": "a\x1b[2J", "scheduled_us": 10**18, "ended_us": 10**18, "duration_us": 10**18}
    evil = {
        "outcome": "failed",
        "error": "b\x1b[2J\x9b\nnext",
        "traceback": "c\x1b[2J\r\x9b",
        "parent": "\x1b-\x1b",
    }
    line = lines.LINE_BEGINS + json.dumps(keys | evil).encode()[1:] + b"\n"
    (tmp_path / layout.segment_file(ID, 0)).write_bytes(line)
    shown = [answer.out for answer in ask_all(tmp_path)]
    assert sum(r"a\x1b[2J" in out for out in shown) >= 4
    assert not any("\x1b" in out or "\x9b" in out or "\r" in out for out in shown)


def test_a_dead_process_without_a_time_has_no_age(tmp_path: Path):
    """A head whose last sign of life is no number leads to no age, and to no traceback."""
    text = lines.LINE_BEGINS + f'"task_run":"{RUN}","task":"mail","scheduled_us":1'.encode()
    slot = b"\1".ljust(layout.TEXT_AT, b"\0") + text + b"\n"
    made = head(process=ID, alive=float("nan")).packed().ljust(layout.HEAD_SIZE, b"\0")
    (tmp_path / layout.live_file(ID)).write_bytes(made + slot.ljust(layout.SLOT_SIZE, b"\0"))
    [lost] = afterword("now", tmp_path, "--json").objects
    assert (lost["state"], "age_s" in lost) == ("lost", False)
    ask_all(tmp_path)
