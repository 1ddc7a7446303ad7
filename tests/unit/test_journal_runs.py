"""The journal of a living process: what is in flight, what has ended, and what it never stores."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from afterword._common.model import Outcome, Reason, TaskRun
from afterword._common.observer import TaskObserver
from afterword._common.own_thread import Upkeep
from afterword._ledger.journal import layout, lines, segments, slots
from afterword._ledger.journal.history import Filter
from afterword._ledger.journal.journal import Journal, journal_at
from afterword._ledger.journal.observers import Ended, Told
from afterword._ledger.journal.records import parse_line
from tests.support.journals import (
    REQUEST_SPAN,
    TRACE,
    Ids,
    ended,
    give_up,
    history_of,
    in_flight_of,
    ledger_of,
    new_run,
    scheduled,
    started,
)
from tests.support.waiting import wait_until


def test_nothing_is_written_before_the_first_run(journal: Journal, directory: Path):
    """A process that only makes applications, as a server that forks its workers does, has no files."""
    ledger_of(journal)
    assert not directory.exists()


def test_only_this_user_can_read_it(journal: Journal, directory: Path):
    """The directory and every file in it are closed to everybody else."""
    ended(ledger_of(journal))
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    assert len(list(directory.iterdir())) == 2


def test_a_run_is_in_flight_until_it_has_ended(journal: Journal, directory: Path):
    """A run is pending, then running with its span, and then in the history, once."""
    ledger = ledger_of(journal, traces=[Ids()])
    run = scheduled(ledger)
    [pending] = in_flight_of(directory)
    assert (pending.run, pending.task, pending.state, pending.alive) == (run.id, "mail", "pending", True)
    assert (pending.route, pending.request_id, pending.pid) == ("/orders/{number}", "r-1", os.getpid())
    assert (pending.trace_id, pending.span_id) == (TRACE, REQUEST_SPAN)
    ledger.start(run)
    [running] = in_flight_of(directory)
    assert (running.state, running.span_id, running.parent_span_id) == ("running", run.span_id, REQUEST_SPAN)
    assert running.started_at == pytest.approx(run.started_at, abs=1e-5)
    assert history_of(directory) == []
    ledger.finish(run, Outcome.SUCCEEDED)
    assert in_flight_of(directory) == []
    [done] = history_of(directory)
    assert (done.run, done.task, done.function, done.outcome) == (run.id, "mail", "shop.mail", "succeeded")
    assert (done.method, done.route, done.request_id) == ("POST", "/orders/{number}", "r-1")
    assert (done.trace_id, done.span_id, done.parent_span_id) == (TRACE, run.span_id, REQUEST_SPAN)
    assert done.scheduled_at == pytest.approx(run.scheduled_at, abs=1e-5)
    assert done.ended_at == pytest.approx(run.ended_at, abs=1e-5)
    assert done.duration == pytest.approx(run.duration, abs=0.05)
    assert (done.reason, done.error_type, done.traceback, done.recovered) == (None, None, None, False)


def test_a_thread_has_times_of_its_own(journal: Journal, directory: Path):
    """Of a run in a thread, the wait for the thread and the time in it are kept apart."""
    ledger = ledger_of(journal)
    run = started(ledger)
    run.thread_wait, run.duration = 2.5, 1.25
    ledger.finish(run, Outcome.SUCCEEDED)
    [done] = history_of(directory)
    assert (done.thread_wait, done.duration) == (2.5, 1.25)


def test_a_failure_is_kept_with_its_traceback(journal: Journal, directory: Path):
    """The history says why a task failed: type, text and traceback."""

    def fails() -> None:
        raise ValueError('no "stamps"\nleft')

    with pytest.raises(ValueError, match="stamps") as caught:
        fails()
    ended(ledger_of(journal), exc=caught.value)
    [failed] = history_of(directory)
    assert (failed.outcome, failed.reason, failed.error_type) == ("failed", "exception", "ValueError")
    assert failed.error == 'no "stamps"\n    left'
    assert failed.detail == "it raised; see the traceback"
    assert failed.traceback is not None
    assert "in fails" in failed.traceback


def test_runs_of_one_request_have_its_times_and_their_own_span(journal: Journal, directory: Path):
    """What all runs of a request have in common is written with each, and the span that it was scheduled in."""
    ledger, first = ledger_of(journal), new_run()
    first.request._began_at, first.request._answered_at = 1000.5, 1001.25
    for span in ("1" * 16, "1" * 16, "2" * 16):
        run = new_run()
        run.request, run.trace_id, run.span_id, run.sampled = first.request, "a" * 32, span, True
        ended(ledger, run)
    history = history_of(directory)
    assert sorted(str(record.parent_span_id) for record in history) == ["1" * 16, "1" * 16, "2" * 16]
    assert {(record.began_at, record.answered_at) for record in history} == {(1000.5, 1001.25)}
    assert {record.request_id for record in history} == {"r-1"}


def test_a_run_that_never_ran(journal: Journal, directory: Path):
    """A dropped run is told with the error of its request, without that traceback."""
    ledger = ledger_of(journal)
    run = scheduled(ledger)
    ledger.end_unstarted(run, Outcome.DROPPED, Reason.REQUEST_FAILED, "its request failed", KeyError("stock"))
    [dropped] = history_of(directory)
    assert (dropped.outcome, dropped.reason, dropped.error_type) == ("dropped", "request_failed", "KeyError")
    assert (dropped.error, dropped.traceback, dropped.started_at) == ("'stock'", None, None)


def test_a_run_without_a_request(journal: Journal, directory: Path):
    """A run that belongs to no request is kept like any other."""
    ended(ledger_of(journal), TaskRun("cleanup", "shop.cleanup", None, 3, is_async=True))
    [done] = history_of(directory)
    assert (done.task, done.method, done.route, done.request_id) == ("cleanup", None, None, None)


def test_a_run_that_was_scheduled_before_there_was_a_journal(journal: Journal, directory: Path):
    """If an application is instrumented anew, runs that are open end in the journal, too."""
    run = started(ledger_of(journal_at(str(directory.parent / "other"))))
    run.outcome, run.ended_at = Outcome.SUCCEEDED, run.started_at
    Ended(journal).ended(run)
    Told(journal).ended(run)
    assert [record.run for record in history_of(directory)] == [run.id]
    give_up(ledger_of(journal), run)
    journal_at(str(directory.parent / "other")).close()


class Address(BaseModel):
    """What a task is given by mistake."""

    street: int


def test_nothing_that_a_task_was_given_is_stored(journal: Journal, directory: Path):
    """Arguments, local variables and the input of a validation are found in no file, whatever raised."""

    def fails(argument: str) -> None:
        local = argument + argument[::-1]
        Address.model_validate({"street": local})

    secret = "marma" + "lade"  # no source line of the traceback has it
    with pytest.raises(ValueError, match="street") as caught:
        fails(secret)
    ledger = ledger_of(journal)
    ended(ledger, exc=caught.value)
    run = scheduled(ledger)
    ledger.end_unstarted(run, Outcome.DROPPED, Reason.REQUEST_FAILED, "its request failed", caught.value)
    stored = b"".join(file.read_bytes() for file in directory.iterdir())
    assert b"Address" in stored
    assert secret.encode() not in stored
    assert secret[::-1].encode() not in stored


words = st.text(max_size=300)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=words, function=words, route=words, request_id=words, detail=words)
def test_any_text_is_one_line_and_fits_a_slot(name: str, function: str, route: str, request_id: str, detail: str):
    """Whatever names and texts are made of, a line stays one line, and its first part fits a slot."""
    run = new_run(name[:200], route, request_id[:128])
    run.function, run.id, run.detail, run.outcome = function, "0" * 32, detail, Outcome.FAILED
    run.trace_id, run.span_id, run.scheduled_at = TRACE, REQUEST_SPAN, 1.5
    first = lines.first_part(run)
    line = lines.line(first, run)
    record = parse_line(line.removesuffix(b"\n"), "id")
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    assert record is not None
    assert (record.task, record.run, record.scheduled_at) == (run.name, run.id, 1.5)
    assert len(lines.encoded(lines.first_part(run, short=True))) < layout.CAPACITY


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"outcomes": ["failed"]}, ["d", "b"]),
        ({"outcomes": ["failed", "succeeded"]}, ["d", "c", "b", "a"]),
        ({"outcomes": ["lost"]}, []),
        ({"task": "a"}, ["a"]),
        ({"route": "/b"}, ["b"]),
        ({"task": "a", "route": "/b"}, []),
        ({"outcomes": ["failed"], "route": "/d"}, ["d"]),
        ({"trace": TRACE}, ["d", "c", "b", "a"]),
        ({"trace": "0" * 32}, []),
    ],
)
def test_the_history_is_filtered_newest_first(journal: Journal, directory: Path, wanted: dict, found: list[str]):
    """The history begins with the newest run, and each filter leaves out what it should."""
    ledger = ledger_of(journal, traces=[Ids()])
    for name in "abcd":
        ended(ledger, new_run(name, "/" + name), ValueError('"outcome":"lost"') if name in "bd" else None)
    assert [record.task for record in history_of(directory, **wanted)] == found


def test_the_history_by_id_and_by_time(journal: Journal, directory: Path):
    """A run is found by its id, and the history since a moment begins there."""
    ledger = ledger_of(journal)
    first, second = ended(ledger, new_run("a")), ended(ledger, new_run("b"))
    assert [record.task for record in history_of(directory, run=first.id)] == ["a"]
    assert [record.task for record in history_of(directory, since=second.ended_at - 1e-6)] == ["b"]
    assert history_of(directory, since=second.ended_at + 100) == []
    assert Filter(since=0.0).needles() == []


def test_histories_of_several_files_are_one(journal: Journal, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """When a file is full, the next one is there; the history goes through all of them, newest first."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 8192)
    monkeypatch.setattr(segments, "_HALF", 4096)
    ledger = ledger_of(journal)
    runs = [ended(ledger, new_run(f"task{number}")).id for number in range(100)]
    assert len(list(directory.glob("*.runs"))) >= 4
    assert [record.run for record in history_of(directory)] == runs[::-1]
    assert [record.task for record in history_of(directory, task="task3")] == ["task3"]


def test_the_next_file_is_made_ahead(journal: Journal, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """When a file is half full, the thread makes the next one, so that nobody waits for the disk."""
    monkeypatch.setattr(segments, "_HALF", 100)
    ended(ledger_of(journal))
    wait_until(lambda: len(list(directory.glob("*.runs"))) == 2)


def test_more_in_flight_than_slots(journal: Journal, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """The file grows with what is in flight, and keeps what was there."""
    monkeypatch.setattr(slots, "FIRST_SIZE", 8192)
    monkeypatch.setattr(Upkeep, "ask", lambda _: None)  # so that no thread is faster
    ledger = ledger_of(journal)
    runs = [scheduled(ledger) for _ in range(50)]
    assert [record.run for record in in_flight_of(directory)] == [run.id for run in runs]
    give_up(ledger, *runs)
    assert in_flight_of(directory) == []
    assert len(history_of(directory)) == 50
    [live] = directory.glob("*.live")
    size = live.stat().st_size
    give_up(ledger, *[scheduled(ledger) for _ in range(50)])
    assert live.stat().st_size == size  # slots are used again


def test_slots_are_made_ahead(journal: Journal, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """Before the slots are used up, the thread makes more."""
    monkeypatch.setattr(slots, "FIRST_SIZE", 16384)
    monkeypatch.setattr(slots, "_RESERVE", 6)
    ledger = ledger_of(journal)
    runs = [scheduled(ledger) for _ in range(7)]
    [live] = directory.glob("*.live")
    wait_until(lambda: live.stat().st_size == 2 * 16384)
    give_up(ledger, *runs)


def test_threads_write_whole_lines(journal: Journal, directory: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs that end in several threads at once have a line and a slot each."""
    monkeypatch.setattr(segments, "SEGMENT_SIZE", 65536)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ledger = ledger_of(journal)
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda: done.extend(ended(ledger).id for _ in range(500))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert sorted(record.run for record in history_of(directory)) == sorted(done)
    assert in_flight_of(directory) == []


def test_a_journal_that_was_closed_leaves_the_next_one_of_its_directory_alone(journal: Journal, directory: Path):
    """A journal that is closed a second time does not take away the one that was opened there since."""
    journal.close()
    following = journal_at(str(directory))
    journal.close()
    assert journal_at(str(directory)) is following


def test_applications_share_a_journal(journal: Journal, directory: Path):
    """Two applications of a process that name the same directory write one history and have one lock."""
    assert journal_at(f"{directory}/../journal") is journal
    ended(ledger_of(journal), new_run("a"))
    ended(ledger_of(journal), new_run("b"))
    assert len(list(directory.iterdir())) == 2
    assert [record.task for record in history_of(directory)] == ["b", "a"]


def test_an_end_is_written_before_it_is_told(journal: Journal, directory: Path):
    """Whoever is told of a run finds it in flight, and its end in the history, but not yet as told."""
    seen: list[object] = []

    class Looks(TaskObserver):
        def scheduled(self, run: TaskRun) -> None:
            seen.append([record.state for record in in_flight_of(directory)])

        def started(self, run: TaskRun) -> None:
            seen.append([record.state for record in in_flight_of(directory)])

        def ended(self, run: TaskRun) -> None:
            [file] = directory.glob("*.runs")
            seen.append(file.read_bytes().count(b'{"told":0'))

    ended(ledger_of(journal, Looks()))
    [file] = directory.glob("*.runs")
    assert seen == [["pending"], ["running"], 1]
    assert file.read_bytes().count(b'{"told":1') == 1


def test_writing_waits_for_nobody(journal: Journal):
    """All that a task writes goes to mapped memory, without a call that lets another thread go first."""
    ledger = ledger_of(journal)
    ended(ledger)  # opens the files
    held, went = threading.Lock(), threading.Event()

    def follow() -> None:
        with held:
            went.set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(100.0)  # so that a thread goes first only if it is let
    try:
        with held:
            other = threading.Thread(target=follow)
            other.start()  # waits for the lock
        # it is free: the other thread goes as soon as this one waits for anything
        for _ in range(5000):
            ended(ledger)
        assert not went.is_set()
    finally:
        sys.setswitchinterval(before)
        other.join()
