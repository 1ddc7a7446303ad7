"""Directories and files that are not what they should be. One error line, the journal off, the rest as before."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from afterword._ledger.journal import files, history, layout, records, recovery, segments
from afterword._ledger.journal.journal import Journal, journal_at
from tests.support.disks import mounted
from tests.support.interpreter import run_fresh
from tests.support.journals import (
    Heard,
    ended,
    give_up,
    head,
    history_of,
    in_flight_of,
    ledger_of,
    scheduled,
    started,
    write_live,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

Errors = list[logging.LogRecord]


class Kept(logging.Handler):
    """Keeps error lines."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: Errors = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Errors]:
    """Provide the list that our error lines go to."""
    monkeypatch.setattr(recovery, "_said", set())
    kept = Kept()
    logging.getLogger("afterword").addHandler(kept)
    yield kept.records
    logging.getLogger("afterword").removeHandler(kept)


@pytest.fixture
def opened() -> Iterator[Callable[[Path], Journal]]:
    """Provide a function that returns the journal of a directory."""
    made: list[Journal] = []

    def open_at(directory: Path) -> Journal:
        made.append(journal_at(str(directory)))
        return made[-1]

    yield open_at
    for journal in made:
        journal.close()


def assert_off(journal: Journal, errors: Errors, because: str) -> None:
    """Assert that the journal is off with one error line, and that runs go on as before."""
    for _ in range(3):
        ended(ledger_of(journal))
    assert journal.is_off
    [line] = errors
    assert f"the journal in {journal.directory} is off" in line.getMessage()
    assert line.exc_info is not None
    assert because in str(line.exc_info[1])


def test_a_path_that_is_a_file(opened, tmp_path: Path, errors: Errors):
    """If the directory is a file, the journal is off."""
    (tmp_path / "file").touch()
    assert_off(opened(tmp_path / "file"), errors, "File exists")


def test_a_directory_that_cannot_be_made(opened, errors: Errors):
    """If nothing can be written, not even by root, the journal is off."""
    assert_off(opened(Path("/proc/journal")), errors, "No such file")


UNWRITABLE = """
import os, tempfile
from afterword._ledger.journal.journal import journal_at
from tests.support.journals import ended, ledger_of

directory = tempfile.mkdtemp()
os.chmod(directory, 0o555)
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everywhere
journal = journal_at(directory)
ended(ledger_of(journal))
ended(ledger_of(journal))
print(journal.is_off)
os.seteuid(os.getuid())
os.rmdir(directory)
"""


def test_an_unwritable_directory():
    """If this user may not write there, the journal is off, with one error line."""
    printed, complained = run_fresh(UNWRITABLE)
    assert printed.split() == ["True"]
    assert complained.count("Permission denied") == 1


def test_what_switches_it_off_can_be_counted(opened, tmp_path: Path, errors: Errors):
    """Whoever asked for it hears once that the journal is off."""
    (tmp_path / "file").touch()
    journal, heard = opened(tmp_path / "file"), Heard()
    journal.join(heard)
    ended(ledger_of(journal))
    ended(ledger_of(journal))
    assert (heard.faults, heard.off) == (1, 1)


def test_a_directory_that_is_removed(opened, tmp_path: Path, errors: Errors):
    """If the directory goes while a task runs, the task ends as ever, and within seconds the journal is off."""
    journal = opened(tmp_path / "journal")
    ledger = ledger_of(journal)
    run = started(ledger)
    shutil.rmtree(tmp_path / "journal")
    wait_until(lambda: errors)
    assert journal.is_off
    give_up(ledger, run)
    ended(ledger)
    [line] = errors
    assert line.exc_info is not None
    assert "was removed" in str(line.exc_info[1])


def full(*_: object) -> None:
    """Raise what a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_at_the_start(opened, tmp_path: Path, errors: Errors, monkeypatch):
    """If there is no room for the files, the journal is off, and nothing is left behind."""
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert_off(opened(tmp_path), errors, "No space left")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_later(opened, tmp_path: Path, errors: Errors, monkeypatch):
    """If there is no room for more lines, the journal is off and its file says so; nothing is called lost."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 4096)
    journal = opened(tmp_path)
    ledger = ledger_of(journal)
    run = started(ledger)
    monkeypatch.setattr(os, "posix_fallocate", full)
    for _ in range(20):
        ended(ledger)
    assert journal.is_off
    assert "No space left" in str([line.exc_info for line in errors])
    assert len(errors) == 1
    [live] = tmp_path.glob("*.live")
    parsed = layout.parse_head(live.read_bytes())
    assert isinstance(parsed, layout.Head)
    assert parsed.off
    give_up(ledger, run)
    assert layout.parse_slots(live.read_bytes()) == []  # slots are freed without any room
    journal.close()
    heard = Heard()
    recovery.recover(str(tmp_path), heard)
    assert heard.records == []


FILLED = """
import os, resource, signal
from afterword._ledger.journal.journal import journal_at
from tests.support.journals import Heard, ended, ledger_of
from tests.support.waiting import wait_until

journal, heard = journal_at(os.environ["JOURNAL"]), Heard()
journal.join(heard)
ledger = ledger_of(journal)
count = 0
while not journal.is_off and count < 100_000:
    ended(ledger)
    count += 1
wait_until(lambda: heard.off)  # it is told in the thread that came to the end of the disk
print(count, journal.is_off)
"""


def test_a_real_disk_that_is_full(tmp_path: Path):
    """On a disk of 10 MiB, the process goes on when the disk is full: no signal ends it."""
    with mounted(tmp_path, "size=10m") as is_small:
        if not is_small:
            pytest.skip("no disk may be mounted here")
        printed, complained = run_fresh(FILLED, JOURNAL=str(tmp_path / "journal"))
    count, is_off = printed.split()
    assert int(count) > 10_000
    assert is_off == "True"
    assert complained.count("No space left") == 1


def test_a_limit_on_the_size_of_files(tmp_path: Path):
    """If files may not grow as large as ours, the journal is off, and the process goes on."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n" + FILLED
    printed, complained = run_fresh(limited, JOURNAL=str(tmp_path / "journal"))
    assert printed.split() == ["1", "True"]
    assert "File too large" in complained


@pytest.mark.parametrize("make", ["pipe", "link", "hard link", "directory", "device"])
@pytest.mark.parametrize("name", [layout.live_file("0" * 20), layout.segment_file("0" * 20, 0)])
def test_what_is_no_file_of_ours(opened, tmp_path: Path, errors: Errors, make: str, name: str):
    """A pipe, a link, or a directory with one of our names is neither opened nor changed, and the rest goes on."""
    other, path = tmp_path / "other", tmp_path / "journal" / name
    other.write_bytes(head().packed().ljust(layout.HEAD_SIZE, b"\0"))
    path.parent.mkdir()
    before = other.read_bytes()
    if make == "pipe":
        os.mkfifo(path)
    elif make == "link":
        path.symlink_to(other)
    elif make == "hard link":
        path.hardlink_to(other)
    elif make == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    journal = opened(path.parent)
    run = ended(ledger_of(journal))
    for _ in range(2):
        recovery.recover(str(path.parent), Heard())
    journal.retention.apply()
    assert [record.run for record in history_of(path.parent)] == [run.id]
    assert in_flight_of(path.parent) == []
    assert other.read_bytes() == before
    assert path.is_symlink() or path.exists() or name.endswith(".runs")
    assert len(errors) == (1 if name.endswith(".live") else 0)


def test_a_link_to_the_passwords(opened, tmp_path: Path, errors: Errors):
    """A link to a file of the system is not followed by anybody."""
    for name in (layout.live_file("0" * 20), layout.segment_file("1" * 20, 0), layout.lost_file("1" * 20)):
        (tmp_path / name).symlink_to("/etc/passwd")
    before = Path("/etc/passwd").read_bytes()
    write_live(tmp_path, process="1" * 20)
    recovery.recover(str(tmp_path), Heard())
    assert history_of(tmp_path) == []
    assert Path("/etc/passwd").read_bytes() == before


def test_a_file_of_a_newer_version(tmp_path: Path, errors: Errors):
    """What a newer Afterword has written is left alone, with one error line."""
    newer = bytearray(head().packed().ljust(layout.HEAD_SIZE + layout.SLOT_SIZE, b"\1"))
    newer[8] = layout.VERSION + 1
    path = tmp_path / layout.live_file("0" * 20)
    path.write_bytes(newer)
    for _ in range(2):
        assert recovery.recover(str(tmp_path), Heard()) == []
    assert path.read_bytes() == newer
    [line] = errors
    assert line.exc_info is not None
    assert f"version {layout.VERSION + 1}" in str(line.exc_info[1])
    assert in_flight_of(tmp_path) == []


def test_a_slot_that_was_torn_is_free(opened, tmp_path: Path):
    """A run whose slot was being written when its process died was not scheduled yet."""
    journal = opened(tmp_path)
    ledger = ledger_of(journal)
    run = scheduled(ledger)
    [live] = tmp_path.glob("*.live")
    data = bytearray(live.read_bytes())
    [at] = [at for at in range(layout.HEAD_SIZE, len(data), layout.SLOT_SIZE) if data[at] != layout.FREE]
    data[at] = layout.FREE
    assert layout.parse_slots(bytes(data)) == []
    give_up(ledger, run)


SLOT = st.binary(min_size=layout.SLOT_SIZE, max_size=layout.SLOT_SIZE) | st.builds(
    lambda state, text, end: bytes([state]).ljust(layout.TEXT_AT, b"1") + text + end,
    st.integers(0, 3),
    st.sampled_from([b"{", b'{"told":0,"task_run":"x","task":"y","scheduled_us":1', b'{"a":' * 150]),
    st.sampled_from([b"", b"\n"]),
).map(lambda data: data.ljust(layout.SLOT_SIZE, b"\0"))
NUMBERS = st.integers() | st.floats() | st.none() | st.text(max_size=3) | st.just([]) | st.booleans()
LINE = st.binary(max_size=60) | st.builds(
    lambda number, key: f'{{"told":0,"task_run":"x","task":"y","scheduled_us":1,"{key}":{number}}}'.encode(),
    NUMBERS.map(str),
    st.sampled_from(["ended_us", "outcome", "task", "task_run", "parent", "scheduled_us", "told"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(garbage=st.lists(SLOT, max_size=3), lines=st.lists(LINE, max_size=5), own_head=st.booleans())
@example(garbage=[], lines=[b'{"told":0,' + b"[" * 5000 + b"}"], own_head=True)
@example(garbage=[], lines=[b'{"told":0,"scheduled_us":' + b"9" * 5000 + b"}"], own_head=True)
def test_garbage_is_read_as_nothing(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[bytes], lines: list[bytes], own_head: bool
):
    """Whatever the files of a dead process hold, it is read and recovered without an error, and told once."""
    directory = tmp_path_factory.mktemp("garbage")
    process = layout.new_id()
    first = head(process=process).packed().ljust(layout.HEAD_SIZE, b"\0") if own_head else b"garbage"
    (directory / layout.live_file(process)).write_bytes(first + b"".join(garbage))
    (directory / layout.segment_file(process, 0)).write_bytes(b"\n".join([*lines, b""]))
    heard = Heard()
    in_flight_of(directory)
    list(history.ended(str(directory)))
    recovery.recover(str(directory), heard)
    again = Heard()
    recovery.recover(str(directory), again)
    assert again.records == []
    assert (directory / layout.live_file(process)).exists() is not own_head
    shutil.rmtree(directory)


@given(data=st.binary(max_size=300), start=st.integers(0, 300))
def test_any_bytes_are_some_lines(data: bytes, start: int):
    """Lines are found in any bytes, and each one is whole."""
    for at, line in records.whole_lines(data, start):
        assert data[at : at + len(line)] == line
        assert line.startswith(b'{"told":')
        assert b"\n" not in line
        records.parse_line(line, "id")


def test_rooms_without_the_systems_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the system cannot reserve room, zeros are written."""
    monkeypatch.delattr(os, "posix_fallocate")
    descriptor = files.create(str(tmp_path / "file"), 100_000)
    assert os.fstat(descriptor).st_blocks * 512 >= 100_000
    os.close(descriptor)


def test_a_system_that_cannot_reserve_room_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a file system cannot reserve room, zeros are written."""

    def refuses(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuses)
    descriptor = files.create(str(tmp_path / "file"), 70_000)
    assert os.fstat(descriptor).st_size == 70_000
    os.close(descriptor)
