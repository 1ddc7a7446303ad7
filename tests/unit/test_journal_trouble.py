"""Directories in which an application's journal cannot be kept, or no longer.

One error line, one counted fault; the application and its other signals are as before. What becomes of the files
is in test_journal_files.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from afterword._ledger.instrumentation import get_instrumentation
from afterword._ledger.journal import holding, layout
from afterword._ledger.journal.journal import Journal
from tests.support.asgi import ask, call
from tests.support.disks import mounted, on_a_small_disk
from tests.support.in_process import InProcessStage
from tests.support.interpreter import run_fresh
from tests.support.journals import head, history_of, in_flight_of, started, write_live
from tests.support.stage import named
from tests.support.story import succeeded
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.faults


def journal_of(app: Any) -> Journal:
    """Return the journal that an application keeps."""
    instrumentation = get_instrumentation(app)
    assert instrumentation is not None
    assert instrumentation.journal is not None
    return instrumentation.journal


def says_off(journal: Journal) -> bool:
    """Return whether the head of the process's own file says that the journal is off."""
    assert journal.writer is not None
    slots = journal.writer.slots
    parsed = layout.parse_head(holding.head(slots.path, slots.process))
    assert isinstance(parsed, layout.Head)
    return parsed.off


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return our error lines."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- there is no directory ------------------------------------------------------------------------------------


def unwritable(path: Path) -> None:
    """Make a directory that nobody may write to."""
    path.mkdir()
    path.chmod(0o500)


def a_file(path: Path) -> None:
    """Make a file."""
    path.write_text("mine")


def a_pipe(path: Path) -> None:
    """Make a named pipe, which would block whoever opens it."""
    os.mkfifo(path)


def a_link_to_a_file(path: Path) -> None:
    """Make a link that leads elsewhere."""
    path.symlink_to("/etc/passwd")


def a_link_to_itself(path: Path) -> None:
    """Make a link that leads nowhere."""
    path.symlink_to(path)


BAD = [a_file, a_pipe, a_link_to_a_file, a_link_to_itself]
if os.geteuid():  # root may write anywhere
    BAD.append(unwritable)


def assert_never_on(stage: InProcessStage, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Assert that an application works without a journal that cannot be, and that this is told once."""
    app = stage.app_with(stage.works("mail"), journal=directory)
    for _ in range(3):
        assert ask(app).status == 200
    [line] = errors_in(caplog)
    assert "is off" in line
    assert stage.observer_errors("Journal") == 1
    assert journal_of(app).is_off
    stage.assert_story(*[succeeded("mail")] * 3)


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_directory_that_cannot_be_used(
    make: Callable[[Path], None], stage: InProcessStage, directory: Path, caplog: pytest.LogCaptureFixture
):
    """Where no journal can be, there is none, and the application and its other signals are as before."""
    make(directory)
    assert_never_on(stage, directory, caplog)
    directory.chmod(0o700, follow_symlinks=False) if stat.S_ISDIR(os.lstat(directory).st_mode) else None


def test_a_disk_that_cannot_be_written(stage: InProcessStage, directory: Path, caplog: pytest.LogCaptureFixture):
    """On a disk that nobody may write to, root neither, there is no journal, and all else is as before."""
    directory.mkdir()
    with mounted(directory, "ro") as is_mounted:
        if not is_mounted:
            pytest.skip("no disk may be mounted here")
        assert_never_on(stage, directory / "journal", caplog)


# --- it is full -----------------------------------------------------------------------------------------------

FILLED = """
import sys
from pathlib import Path
from afterword._ledger.instrumentation import get_instrumentation
from afterword._ledger.journal import holding, layout, segments
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import failed, succeeded

stage = InProcessStage()
stage.accounts.lines.configure()

segments.SEGMENT_SIZE, segments._HALF = int(sys.argv[2]), int(sys.argv[2]) // 2
app = stage.app_with(stage.works("mail"), stage.fails("report"), journal=Path(sys.argv[1]))
journal = get_instrumentation(app).journal
rounds = 0
while rounds < 3 or not stage.observer_errors("Journal"):
    assert ask(app).status == 200
    rounds += 1
    assert rounds < 3000
for _ in range(3):
    assert ask(app).status == 200
stage.assert_story(*[succeeded("mail"), failed("report")] * (rounds + 3))
if journal.writer is not None:
    slots = journal.writer.slots
    print("off" if layout.parse_head(holding.head(slots.path, slots.process)).off else "on", end=" ")
print(stage.observer_errors("Journal"))
"""


@pytest.mark.parametrize(
    ("size", "segment", "told"),
    [("1m", 4 << 20, "1.0"), ("400k", 1 << 16, "off 1.0")],
    ids=["at the start", "later"],
)
def test_a_disk_that_is_full(size: str, segment: int, told: str, tmp_path: Path):
    """No signal ends the process: it goes on, the journal is off, and its head says so."""
    prefix = on_a_small_disk(tmp_path, size)
    if prefix is None:
        pytest.skip("no disk may be mounted here")
    printed, complained = run_fresh(FILLED, arguments=[str(tmp_path / "journal"), str(segment)], prefix=prefix)
    assert printed.strip() == told
    assert complained.count("is off") == complained.count("No space left on device") == 1


def test_a_disk_of_memory(stage: InProcessStage, directory: Path):
    """On a disk of memory with room enough, the journal is kept as elsewhere."""
    directory.mkdir()
    with mounted(directory, "size=20m") as is_mounted:
        if not is_mounted:
            pytest.skip("no disk may be mounted here")
        app = stage.app_with(stage.works("mail"), journal=directory / "journal")
        assert ask(app).status == 200
        assert [record.outcome for record in history_of(directory / "journal")] == ["succeeded"]
        assert not journal_of(app).is_off
        journal_of(app).close()
    stage.assert_story(succeeded("mail"))


# --- it goes, or holds what is not ours -----------------------------------------------------------------------


def test_a_directory_that_is_removed_while_a_task_runs(
    stage: InProcessStage, directory: Path, caplog: pytest.LogCaptureFixture
):
    """The task ends as ever; the journal goes off within seconds, its head says so, and nothing is called lost."""
    go_on = asyncio.Event()

    @named("mail")
    async def mail() -> None:
        stage.did.append("mail")
        await go_on.wait()

    app = stage.app_with(mail, journal=directory)
    journal = journal_of(app)

    async def remove_meanwhile() -> None:
        visit = asyncio.create_task(call(app))
        await wait_until_async(lambda: stage.did)
        shutil.rmtree(directory)
        await wait_until_async(lambda: stage.observer_errors("Journal"))  # the last that is told of it
        go_on.set()
        assert (await visit).status == 200

    asyncio.run(asyncio.wait_for(remove_meanwhile(), 25))
    assert ask(app).status == 200
    [line] = errors_in(caplog)
    assert "is off" in line
    assert stage.observer_errors("Journal") == 1
    assert says_off(journal)
    stage.assert_story(*[succeeded("mail")] * 2)
    assert not directory.exists()


def garbage(path: Path) -> None:
    """Write what means nothing."""
    path.write_bytes(os.urandom(10_000))


def nothing(path: Path) -> None:
    """Write nothing at all."""
    path.touch()


def of_a_newer_version(path: Path) -> None:
    """Write what a later Afterword may write."""
    newer = bytearray(head().packed().ljust(layout.HEAD_SIZE + layout.SLOT_SIZE, b"\1"))
    newer[8] = layout.VERSION + 1
    path.write_bytes(newer)


def a_directory(path: Path) -> None:
    """Make a directory."""
    path.mkdir()


@pytest.mark.parametrize(
    "make",
    [garbage, nothing, of_a_newer_version, a_pipe, a_link_to_a_file, a_link_to_itself, a_directory],
    ids=lambda make: make.__name__,
)
def test_what_is_not_ours_among_the_files(
    make: Callable[[Path], None],
    stage: InProcessStage,
    directory: Path,
    left: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
):
    """What is none of ours is left alone, said and counted once; the journal goes on, and the dead are told of."""
    [run] = left(started)
    path = directory / layout.live_file("0" * 20)
    make(path)
    before = os.lstat(path)
    app = stage.app_with(stage.works("mail"), journal=directory)
    assert ask(app).status == 200
    for _ in range(3):
        journal_of(app).recover()
    assert [line["task_run"] for line in stage.lines("background_task.lost")] == [run.id]
    [line] = errors_in(caplog)
    assert path.name in line
    assert stage.observer_errors("Journal") == 1
    after = os.lstat(path)
    assert (after.st_mode, after.st_size, after.st_mtime) == (before.st_mode, before.st_size, before.st_mtime)
    assert not journal_of(app).is_off
    assert not says_off(journal_of(app))
    assert sorted(record.outcome or "" for record in history_of(directory)) == ["lost", "succeeded"]
    assert in_flight_of(directory) == []


def test_files_of_others_are_no_fault(stage: InProcessStage, directory: Path, caplog: pytest.LogCaptureFixture):
    """What does not even have one of our names, and a process that was off, are nothing to tell."""
    directory.mkdir()
    write_live(directory, off=True)
    (directory / "notes.txt").write_text("mine")
    app = stage.app_with(stage.works("mail"), journal=directory)
    journal_of(app).recover()
    assert errors_in(caplog) == []
    assert stage.observer_errors("Journal") is None
    assert stage.lines("background_task.lost") == []
    assert (directory / "notes.txt").read_text() == "mine"
