"""What a page asks again and again: what is new in a journal, what is in flight, and the checks."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from afterword._common.model import RequestInfo
from afterword._ledger.journal import files, history, layout, segments
from afterword._ledger.journal.history import Filter
from afterword._ledger.journal.journal import Journal, journal_at
from afterword._ledger.journal.observers import Begun, Ended
from afterword._ledger.journal.records import Record
from afterword._ledger.runs import Ledger
from afterword._views import checks
from afterword._views.account import Account
from afterword._views.feed import Feed, feed_of
from afterword._views.reader import JournalReader
from tests.support.journals import (
    Heard,
    ended,
    give_up,
    ledger_of,
    line_of,
    scheduled,
    started,
    write_ended,
)


@pytest.fixture
def ledger(journal: Journal) -> Ledger:
    """Provide a ledger whose runs are in the journal."""
    return ledger_of(journal)


def feed_at(directory: Path) -> Feed:
    """Return the feed of a journal."""
    return feed_of(JournalReader(str(directory)))


# --- the feed ---------------------------------------------------------------------------------------------------


def test_a_feed_tells_each_end_once(directory: Path, ledger: Ledger):
    """What ended before is not told, what ends later once, newest first, with what is in flight now."""
    ended(ledger)
    feed = feed_at(directory)
    assert feed.poll() == ([], 0, 0, 0)
    new = [ended(ledger), ended(ledger)]
    left = [started(ledger), scheduled(ledger), scheduled(ledger)]
    changes = feed.poll()
    assert [record.run for record in changes.ended] == [run.id for run in reversed(new)]
    assert changes[1:] == (2, 2, 1)
    assert feed.poll() == ([], 0, 2, 1)
    give_up(ledger, *left)
    assert feed.poll().total == 3


@pytest.mark.parametrize(("count", "told"), [(100, 100), (101, 10)])
def test_a_feed_tells_the_newest_of_many(count: int, told: int, directory: Path, ledger: Ledger):
    """A burst is told by its newest runs and by its number."""
    feed = feed_at(directory)
    many = [ended(ledger) for _ in range(count)]
    changes = feed.poll()
    assert [record.run for record in changes.ended] == [run.id for run in reversed(many[-told:])]
    assert changes.total == count


def test_runs_that_ended_at_the_same_moment_come_in_their_order(directory: Path):
    """Where a clock does not tell, the line that was written last is the newest."""
    feed, now = feed_at(directory), time.time()
    write_ended(directory, *(line_of(name, at=now) for name in ("first", "second", "third")))
    assert [record.task for record in feed.poll().ended] == ["third", "second", "first"]


def test_a_feed_begins_before_there_is_a_journal(directory: Path):
    """Where nothing was written yet there is nothing, and then everything."""
    feed = feed_at(directory)
    assert feed.poll() == ([], 0, 0, 0)
    with closing(journal_at(str(directory))) as journal:
        run = ended(ledger_of(journal))
        assert [record.run for record in feed.poll().ended] == [run.id]


def test_a_feed_goes_on_in_the_next_file(directory: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """When a process turns to its next file, and the next, no run is left out and none is told twice."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 4096)
    feed = feed_at(directory)
    runs: list[str] = []
    told: list[str] = []
    for number in range(100):
        runs.append(ended(ledger).id)
        if number % 7 == 0:
            told += [record.run for record in reversed(feed.poll().ended)]
    told += [record.run for record in reversed(feed.poll().ended)]
    assert len(list(directory.glob("*.runs"))) > 5
    assert told == runs


def test_a_feed_tells_what_another_process_ended_and_lost(directory: Path, journal: Journal, ledger: Ledger):
    """A process that comes and dies between two looks is told whole, with what it has lost."""
    feed = feed_at(directory)
    left = [started(ledger), scheduled(ledger)]
    done = ended(ledger)
    journal.close()
    assert feed.poll().pending == 0, "the dead have nothing in flight"
    with closing(journal_at(str(directory))) as other:
        other.join(Heard())
        ended(ledger_of(other))
        other.recover()
        changes = feed.poll()
    assert sorted(str(record.outcome) for record in changes.ended) == ["lost", "lost", "succeeded"]
    assert done.id not in {record.run for record in changes.ended}
    assert feed.poll().total == 0
    give_up(ledger, *left)


def test_a_line_that_comes_late_is_told(directory: Path):
    """A thread may write its line after the next ones: it is told when it is there, and the others once."""
    one, two, three = (line_of(name, at=time.time()) for name in ("one", "two", "three"))
    process = write_ended(directory, b"")
    path = directory / layout.segment_file(process, 0)
    (directory / layout.live_file(process)).touch()  # it is being written to
    feed = feed_at(directory)
    path.write_bytes(one + b"\0" * len(two) + three + b"\0" * 4096)
    assert sorted(record.task for record in feed.poll().ended) == ["one", "three"]
    path.write_bytes(one + two + three + b"\0" * 4096)
    assert [record.task for record in feed.poll().ended] == ["two"]
    assert feed.poll().total == 0


def test_a_feed_reads_only_what_is_new(directory: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """However much there is, a look at what has changed reads little of it."""
    for _ in range(3000):
        ended(ledger)
    feed = feed_at(directory)
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, at: read.append(size) or pread(fd, size, at))
    ended(ledger)
    assert feed.poll().total == 1
    assert sum(read) < 1_500_000, "of which the slots are a quarter of a million"


def test_files_that_are_complete_are_not_read_again(directory: Path, monkeypatch: pytest.MonkeyPatch):
    """What the dead have left is old at the beginning, and is read once if it comes later."""
    before = write_ended(directory, line_of(at=time.time()))
    opened: list[str] = []
    monkeypatch.setattr(files, "open_ours", lambda path, real=files.open_ours: opened.append(path) or real(path))
    feed = feed_at(directory)
    later = write_ended(directory, line_of(at=time.time()))
    assert [feed.poll().total for _ in range(3)] == [1, 0, 0]
    assert [os.path.basename(path).partition(".")[0] for path in opened] == [later]
    assert before != later


# --- reading ----------------------------------------------------------------------------------------------------


def test_what_is_in_flight_is_counted_without_looking_closely(directory: Path, ledger: Ledger, journal: Journal):
    """The number of pending and running runs is that of the living processes' slots."""
    left = [started(ledger), scheduled(ledger), scheduled(ledger)]
    ended(ledger)
    assert history.in_flight_count(str(directory)) == (2, 1)
    [process] = history.processes(str(directory))
    assert (process.pid, process.alive) == (os.getpid(), True)
    give_up(ledger, *left)
    assert history.in_flight_count(str(directory)) == (0, 0)


def test_a_run_that_has_its_end_is_not_in_flight(
    directory: Path, journal: Journal, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    """A run whose end is written, but not told to all, has ended, however many files ago that was."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 4096)
    untold = Ledger([Ended(journal), Begun(journal)])
    ended(untold)
    for _ in range(50):
        ended(ledger)
    left = started(ledger)
    assert len(list(directory.glob("*.runs"))) > 3
    assert [record.run for record in history.in_flight(str(directory))] == [left.id]
    give_up(ledger, left)


def test_old_files_are_not_read_for_what_is_in_flight(
    directory: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    """The end of a run is not in a file whose runs had ended before it was scheduled."""
    journal.open()
    assert journal.writer is not None
    process, now = journal.writer.slots.process, time.time()
    for number in range(1, 9):
        line = line_of(at=now - 1000 + 100 * number)
        (directory / layout.segment_file(process, number)).write_bytes(line)
    ledger = ledger_of(journal)
    left = started(ledger)
    read: list[str] = []
    monkeypatch.setattr(files, "read", lambda path, *size, real=files.read: read.append(path) or real(path, *size))
    assert len(history.in_flight(str(directory))) == 1
    assert [path[-11:-5] for path in read] == ["000008"]
    give_up(ledger, left)


def test_a_journal_of_before_has_the_same_keys_but_two(directory: Path):
    """Lines without the beginning of a request and its answer are read as before, and those with them, too."""
    write_ended(
        directory,
        line_of("old", at=5.0),
        line_of("new", at=6.0, began=1.25, answered=2.5, request=RequestInfo("GET", "/")),
    )
    new, old = history.ended(str(directory))
    assert (old.began_at, old.answered_at) == (None, None)
    assert (new.began_at, new.answered_at) == (1.25, 2.5)
    assert [record.task for record in history.ended(str(directory), Filter(began=1.25))] == ["new"]


# --- checks -----------------------------------------------------------------------------------------------------


def account_of(name: str, scheduled: int, pending: int = 0, succeeded: int = 0) -> Account:
    """Return an account."""
    account = Account(name, scheduled=scheduled, pending=pending)
    account.ended["succeeded"] = succeeded
    return account


def test_the_account_is_checked_by_the_law():
    """It balances, or one task is named that does not; only what stays wrong is."""
    good, bad = account_of("mail", 3, 1, 2), account_of("audit", 3, 1, 1)
    assert checks.account(lambda: {"mail": good})["state"] == "good"
    told = checks.account(lambda: {"mail": good, "audit": bad})
    assert (told["name"], told["state"]) == ("account", "bad")
    assert told["detail"] == "audit: 3 scheduled, but 2 in flight, ended or lost."
    answers = iter([{"audit": bad}, {"audit": account_of("audit", 3, 1, 2)}])
    assert checks.account(lambda: next(answers))["state"] == "good"
    wrong_by_turns = iter([{"a": account_of("a", 1)}, {"b": account_of("b", 1)}])
    assert checks.account(lambda: next(wrong_by_turns))["state"] == "good"


def test_an_account_that_cannot_be_read_is_unknown():
    """Without metrics, and with metrics that fail, nothing is claimed."""
    assert checks.account(None)["state"] == "unknown"
    assert checks.account(lambda: None)["state"] == "unknown"
    assert checks.account(lambda: {})["state"] == "good"
    told = checks.account(lambda: (_ for _ in ()).throw(RuntimeError("secret")))
    assert (told["state"], told["detail"]) == ("unknown", "The metrics cannot be read: RuntimeError.")


def in_flight(task: str, since: float, state: str = "running") -> Record:
    """Return a run in flight."""
    began = since if state == "running" else None
    return Record(run="1", task=task, scheduled_at=since, process="p", state=state, started_at=began, alive=True)


def usual(
    task: str, count: int, *, waited: float = 0.0, ran: float = 0.0, known: checks.Usual | None = None
) -> Any:
    """Return what is usual after so many runs of a task."""
    known = known or checks.Usual()
    for _ in range(count):
        known.add(Record(run="1", task=task, scheduled_at=0.0, process="p", started_at=waited, duration=ran))
    return known


@pytest.mark.parametrize(
    ("state", "age", "count", "took", "found"),
    [
        ("running", 59.0, 10, 0.1, "good"),
        ("running", 61.0, 10, 0.1, "bad"),
        ("running", 299.0, 10, 30.0, "good"),
        ("running", 301.0, 10, 30.0, "bad"),
        ("running", 299.0, 0, 0.0, "good"),
        ("running", 301.0, 0, 0.0, "bad"),
        ("running", 299.0, 4, 0.1, "good"),
        ("pending", 299.0, 10, 0.1, "good"),
        ("pending", 301.0, 10, 0.1, "bad"),
        ("pending", 599.0, 10, 60.0, "good"),
        ("pending", 601.0, 10, 60.0, "bad"),
    ],
)
def test_a_run_is_stuck_that_takes_much_longer_than_usual(
    state: str, age: float, count: int, took: float, found: str
):
    """Ten times what nearly all take, and a minute at least; five if little is known, and for one that waits."""
    times = {"ran": took, "waited": 9999.0} if state == "running" else {"waited": took, "ran": 9999.0}
    told = checks.stuck([in_flight("mail", 1000.0 - age, state)], usual("mail", count, **times), 1000.0)
    assert told["state"] == found
    assert f"mail has been {state} for" in told["detail"]


def test_the_stuck_run_is_named_although_an_older_one_is_not():
    """A long export is no trouble, a mail that takes as long is."""
    known = usual("mail", 10, ran=1.0, known=usual("export", 10, ran=900.0))
    told = checks.stuck([in_flight("export", 0.0), in_flight("mail", 500.0)], known, 1000.0)
    assert (told["state"], told["detail"]) == (
        "bad",
        "mail has been running for 8 min; 95 % of its runs take 1 s at most.",
    )
    told = checks.stuck([in_flight("late", 0.0, "pending"), in_flight("mail", 500.0)], known, 1000.0)
    assert told["detail"] == "late has been pending for 17 min; not many have lately; and 1 more."
    assert checks.stuck([], known, 0.0)["state"] == "good"


@pytest.mark.parametrize(
    ("found", "state", "detail"),
    [
        (None, "unknown", "No task has needed a worker thread in this process yet."),
        ((0.0, 0.0, 0.0), "unknown", "No task has needed a worker thread in this process yet."),
        ((3.0, 40.0, 0.0), "good", "3 of 40 worker threads are busy."),
        ((40.0, 40.0, 0.0), "good", "40 of 40 worker threads are busy."),
        ((40.0, 40.0, 1.0), "bad", "1 caller waits for one of 40 worker threads, all of which are busy."),
        ((40.0, 40.0, 2.0), "bad", "2 callers wait for one of 40 worker threads, all of which are busy."),
    ],
)
def test_threads_are_short_when_somebody_waits(found: Any, state: str, detail: str):
    """As long as nobody waits there are enough, however many are busy."""
    assert checks.threads(lambda: found) == {"name": "threads", "state": state, "detail": detail}
