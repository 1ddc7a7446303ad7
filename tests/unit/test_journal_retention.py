"""How much history is kept: by number, age and size, and whose files may be deleted."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from afterword._common.model import Outcome, TaskRun
from afterword._ledger.journal import layout, lines, segments
from afterword._ledger.journal.journal import Journal, journal_at
from afterword._ledger.journal.observers import Ended, Told
from afterword._ledger.journal.retention import Limits, Retention
from tests.support.journals import ended, give_up, history_of, ledger_of, new_run, scheduled, write_live
from tests.support.waiting import wait_until

NO_LIMIT = 1 << 60


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Provide the journal of this process."""
    journal = journal_at(str(tmp_path))
    yield journal
    journal.close()


def write_history(directory: Path, hours_ago: float, runs: int = 10, number: int = 0, told: int = 1) -> str:
    """Write a file of a dead process whose account is closed; return its name."""
    process = layout.new_id()
    ended_at = time.time() - hours_ago * 3600
    written = b""
    for index in range(runs):
        run: TaskRun = new_run()
        run.id, run.outcome = f"{number:016}{index:016}", Outcome.SUCCEEDED
        run.scheduled_at = run.started_at = run.ended_at = ended_at
        run.trace_id, run.span_id = "a" * 32, "b" * 16
        written += lines.line(lines.first_part(run), run)
    name = layout.segment_file(process, number)
    (directory / name).write_bytes(written.replace(b'{"told":0', f'{{"told":{told}'.encode()))
    return name


def apply(directory: Path, runs: int = NO_LIMIT, seconds: float = NO_LIMIT, size: int = NO_LIMIT) -> list[str]:
    """Delete what is beyond some limits; return the names of what was deleted."""
    return Retention(str(directory), Limits(runs=runs, seconds=seconds, size=size)).apply()


def test_within_the_limits_nothing_is_deleted(tmp_path: Path):
    """By default, ten runs of yesterday evening are kept."""
    write_history(tmp_path, hours_ago=12)
    assert Retention(str(tmp_path), Limits()).apply() == []


def test_what_is_too_old_is_deleted(tmp_path: Path):
    """After 24 hours a file goes, whatever there is room for."""
    old, _ = write_history(tmp_path, hours_ago=25), write_history(tmp_path, hours_ago=23)
    assert Retention(str(tmp_path), Limits()).apply() == [old]


def test_so_many_runs_are_kept_as_the_limit_says(tmp_path: Path):
    """The oldest files go as long as the rest has enough runs: at least as many as the limit are kept."""
    names = [write_history(tmp_path, hours_ago=10 - hour, number=hour) for hour in range(5)]
    assert apply(tmp_path, runs=25) == names[:2]
    assert len(history_of(tmp_path)) == 30
    assert apply(tmp_path, runs=25) == []


def test_the_size_of_the_history_is_bounded(tmp_path: Path):
    """The oldest files go until the rest fits."""
    names = [write_history(tmp_path, hours_ago=10 - hour, number=hour) for hour in range(5)]
    size = (tmp_path / names[0]).stat().st_size
    assert apply(tmp_path, size=3 * size + 1) == names[:2]


def test_what_the_living_and_the_unclosed_have_is_kept(journal: Journal, tmp_path: Path):
    """Files of a process that lives, or whose account is not closed yet, are nobody else's to delete."""
    ended(ledger_of(journal))
    write_live(tmp_path, process=layout.new_id())
    [unclosed] = [path.stem for path in tmp_path.glob("*.live") if path.stem != journal.writer.slots.process]
    (tmp_path / write_history(tmp_path, hours_ago=50)).rename(tmp_path / layout.segment_file(unclosed, 0))
    assert apply(tmp_path, seconds=0.0, runs=0, size=0) == []


def test_a_process_deletes_what_it_has_finished(journal: Journal, tmp_path: Path, monkeypatch):
    """One process that runs for weeks does not fill the disk: its old files go, those that it writes to stay."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 8192)
    journal.retention.limits = Limits(runs=30)
    ledger = ledger_of(journal)
    for _ in range(200):
        last = ended(ledger)
    wait_until(lambda: journal.look_after() or len(history_of(tmp_path)) < 60)
    assert len(history_of(tmp_path)) >= 30
    assert history_of(tmp_path)[0].run == last.id
    again = ended(ledger)
    assert history_of(tmp_path)[0].run == again.id


def test_an_end_that_is_being_told_is_kept(journal: Journal, tmp_path: Path, monkeypatch):
    """A finished file with an end that was not told yet stays: if the process dies now, others have to tell it."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 8192)
    ledger = ledger_of(journal)
    run = scheduled(ledger)
    writer = journal.open()
    assert writer is not None
    run.outcome, run.ended_at = Outcome.SUCCEEDED, run.scheduled_at
    Ended(journal).ended(run)
    for _ in range(100):
        ended(ledger)
    journal.retention.limits = Limits(runs=0)
    own = writer.slots.process, writer.segments.in_use
    assert layout.segment_file(own[0], 0) not in journal.retention.apply(*own)
    Told(journal).ended(run)
    assert layout.segment_file(own[0], 0) in journal.retention.apply(*own)
    give_up(ledger, run)


def test_what_somebody_left_half_made(journal: Journal, tmp_path: Path):
    """A file that a process was making when it died is deleted after an hour, and not before."""
    old, new = tmp_path / layout.hidden_file("1" * 20), tmp_path / layout.hidden_file("2" * 20)
    other = tmp_path / ".somebody-elses"
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (time.time() - 5000,) * 2)
    apply(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


def test_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is in a file that nobody writes to is remembered."""
    write_history(tmp_path, hours_ago=1)
    retention = Retention(str(tmp_path), Limits())
    retention.apply()
    monkeypatch.setattr("afterword._ledger.journal.files.read", None)
    retention.apply()
