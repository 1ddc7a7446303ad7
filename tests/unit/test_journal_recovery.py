"""The dead: what they had in flight is told as lost, what they had not told is told for them, each once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from afterword._common.model import Outcome, TaskRun
from afterword._common.observer import TaskObserver
from afterword._ledger.journal import holding, layout, lines, recovery
from afterword._ledger.journal.journal import Journal, journal_at
from tests.support.journals import (
    REQUEST_SPAN,
    TRACE,
    Heard,
    Ids,
    ended,
    give_up,
    history_of,
    in_flight_of,
    ledger_of,
    scheduled,
    started,
    write_live,
)
from tests.support.waiting import wait_until


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Provide a journal that a test lets die."""
    journal = journal_at(str(tmp_path))
    yield journal
    journal.close()


def recover(directory: Path, heard: Heard | None = None) -> Heard:
    """Close the accounts of the dead; return what was told."""
    heard = heard or Heard()
    recovery.recover(str(directory), heard)
    return heard


def test_what_was_in_flight_is_lost(journal: Journal, tmp_path: Path):
    """A run in flight is told as lost, once, as it was: pending or running, with its ids. What ended is not."""
    ledger = ledger_of(journal, traces=[Ids()])
    pending, running, done = scheduled(ledger), started(ledger), ended(ledger)
    journal.close()
    heard = recover(tmp_path)
    assert heard.outcomes == {pending.id: "lost", running.id: "lost"}
    first, second = heard.records
    assert (first.state, first.pid, first.recovered) == ("pending", os.getpid(), False)
    assert (first.trace_id, first.span_id, first.started_at) == (TRACE, REQUEST_SPAN, None)
    assert (second.state, second.span_id, second.parent_span_id) == ("running", running.span_id, REQUEST_SPAN)
    assert second.started_at == pytest.approx(running.started_at, abs=1e-5)
    assert {record.run: record.outcome for record in history_of(tmp_path)} == heard.outcomes | {
        done.id: "succeeded"
    }
    assert recover(tmp_path).records == []
    assert in_flight_of(tmp_path) == []
    assert list(tmp_path.glob("*.live")) == []
    give_up(ledger, pending, running)


def test_the_dead_are_in_flight_until_somebody_closes_their_account(journal: Journal, tmp_path: Path):
    """Readers show what a dead process had in flight, and that it is dead."""
    run = started(ledger_of(journal))
    journal.close()
    assert [(record.run, record.alive) for record in in_flight_of(tmp_path)] == [(run.id, False)]
    give_up(ledger_of(journal), run)


def test_the_living_are_left_alone(journal: Journal, tmp_path: Path):
    """A process closes neither its own account nor, by looking at it, gives up its lock."""
    ledger = ledger_of(journal)
    run = started(ledger)
    for _ in range(3):
        assert recover(tmp_path).records == []
        assert [record.alive for record in in_flight_of(tmp_path)] == [True]
    give_up(ledger, run)


def test_an_end_that_was_not_told_is_told_for_its_process(journal: Journal, tmp_path: Path):
    """A process that dies between writing an end and telling it leaves that end, not a loss, to others: once."""

    class Dies(TaskObserver):
        def ended(self, run: TaskRun) -> None:
            journal.close()
            assert journal.writer is not None
            journal.writer = None

    run = ended(ledger_of(journal, Dies()))
    heard = recover(tmp_path)
    assert [(record.run, record.outcome, record.recovered) for record in heard.records] == [
        (run.id, "succeeded", True)
    ]
    assert [(record.run, record.recovered) for record in history_of(tmp_path)] == [(run.id, True)]
    [dead] = heard.dead
    assert ([record.run for record in dead.recovered], dead.lost) == ([run.id], [])
    assert recover(tmp_path).records == []


def test_what_was_counted_is_all_that_was_left(journal: Journal, tmp_path: Path):
    """The metrics hear once of each dead process, of all that it left, also of what another claimer told."""
    ledger = ledger_of(journal)
    runs = [scheduled(ledger) for _ in range(3)]
    journal.close()

    class Dies(Heard):
        def tell(self, record) -> None:
            super().tell(record)
            if len(self.records) == 2:
                raise KeyboardInterrupt

    first = Dies()
    with pytest.raises(KeyboardInterrupt):
        recover(tmp_path, first)
    assert first.dead == []
    second = recover(tmp_path)
    assert [record.recovered for record in first.records] == [False, False]
    # the second one was told, but its claimer died before it noted so: told again, and marked
    assert [(record.run, record.recovered) for record in second.records] == [
        (runs[1].id, True),
        (runs[2].id, True),
    ]
    [dead] = second.dead
    assert [record.run for record in dead.lost] == [run.id for run in runs]
    assert sorted(record.run for record in history_of(tmp_path)) == sorted(run.id for run in runs)
    give_up(ledger, *runs)


@pytest.mark.faults
def test_a_teller_that_fails_loses_nothing(journal: Journal, tmp_path: Path):
    """What cannot be told is in the history all the same, and the account is closed."""
    ledger = ledger_of(journal)
    run = scheduled(ledger)
    journal.close()

    class Fails(Heard):
        def tell(self, record) -> None:
            super().tell(record)
            raise OSError("no logs")

        count = tell

    assert len(recover(tmp_path, Fails()).records) == 2
    assert [record.run for record in history_of(tmp_path)] == [run.id]
    assert list(tmp_path.glob("*.live")) == []
    give_up(ledger, run)


def test_a_torn_line_of_a_claimer_is_written_again(journal: Journal, tmp_path: Path):
    """If a claimer died within a line, the next one writes it whole, and the torn one counts for nothing."""
    ledger = ledger_of(journal)
    run = scheduled(ledger)
    [live] = tmp_path.glob("*.live")
    torn = b'{"told":0,"task_run":"' + run.id.encode() + b'","task":"ma'
    (tmp_path / layout.lost_file(live.stem)).write_bytes(torn)
    journal.close()
    assert recover(tmp_path).outcomes == {run.id: "lost"}
    assert [record.run for record in history_of(tmp_path)] == [run.id]
    give_up(ledger, run)


def test_a_torn_end_is_no_end(journal: Journal, tmp_path: Path):
    """A run whose line was torn, by a process that died while it wrote, is lost."""
    ledger = ledger_of(journal)
    run = scheduled(ledger)
    assert journal.writer is not None
    run.outcome, run.ended_at = Outcome.SUCCEEDED, run.scheduled_at
    whole = lines.line(lines.first_part(run), run)
    journal.writer.segments.append(whole[:-40])
    journal.close()
    assert recover(tmp_path).outcomes == {run.id: "lost"}
    assert [record.outcome for record in history_of(tmp_path)] == ["lost"]
    give_up(ledger, run)


def test_a_line_after_a_torn_one(journal: Journal, tmp_path: Path):
    """A line that was torn by an error does not swallow the next one."""
    ledger = ledger_of(journal)
    first = ended(ledger)
    assert journal.writer is not None
    journal.writer.segments.append(b'{"told":0,"task_run":"' + bytes(30))
    second = ended(ledger)
    assert [record.run for record in history_of(tmp_path)] == [second.id, first.id]


def test_a_pid_that_came_back(journal: Journal, tmp_path: Path):
    """A dead process that had the pid of a living one is as dead as any other."""
    ledger = ledger_of(journal)
    run = started(ledger)
    dead = write_live(tmp_path, pid=os.getpid())
    heard = recover(tmp_path)
    assert [account.process for account in heard.dead] == [dead]
    assert [record.run for record in in_flight_of(tmp_path)] == [run.id]
    give_up(ledger, run)


@pytest.mark.faults
def test_a_process_that_was_off_has_lost_nothing(journal: Journal, tmp_path: Path):
    """What was in flight when a journal was switched off may have ended since: nobody tells it as lost."""
    ledger = ledger_of(journal)
    run = started(ledger)
    journal.switch_off(OSError("for a test"))
    give_up(ledger, run)
    journal.close()
    heard = recover(tmp_path)
    assert heard.records == []
    assert [dead.off for dead in heard.dead] == [True]


@pytest.mark.parametrize(("age", "closed"), [(1.0, False), (1000.0, True)])
def test_a_process_of_another_machine(tmp_path: Path, age: float, closed: bool):
    """If two machines share a directory, and locks are not seen, the living of the other one are left alone."""
    write_live(tmp_path, machine="another", alive=time.time() - age)
    assert bool(recover(tmp_path).dead) is closed


def test_a_file_is_cut_to_what_is_in_it(journal: Journal, tmp_path: Path):
    """The account of the dead takes no more room than its lines; what is empty goes."""
    ended(ledger_of(journal))
    journal.close()
    recover(tmp_path)
    [file] = tmp_path.iterdir()
    assert 0 < file.stat().st_size < 1000
    assert len(history_of(tmp_path)) == 1


def test_a_file_that_another_claims_is_left(journal: Journal, tmp_path: Path):
    """Of a claim that is going on in this process, a second one keeps off, and reading does not end it."""
    dead = write_live(tmp_path)
    path = str(tmp_path / layout.live_file(dead))
    assert holding.claim(path, dead) is not None
    assert recover(tmp_path).dead == []
    in_flight_of(tmp_path)
    holding.release(dead)
    assert len(recover(tmp_path).dead) == 1


def test_the_thread_looks_for_the_dead(journal: Journal, tmp_path: Path):
    """A process that has runs closes the accounts of others within seconds, without being asked."""
    heard = Heard()
    journal.join(heard)
    ended(ledger_of(journal))
    write_live(tmp_path)
    wait_until(lambda: heard.dead)


@pytest.mark.slow
def test_ten_thousand_in_flight_are_all_lost(journal: Journal, tmp_path: Path):
    """However much a process had in flight, each run is told."""
    ledger = ledger_of(journal)
    runs = [scheduled(ledger) for _ in range(10_000)]
    journal.close()
    begun = time.perf_counter()
    heard = recover(tmp_path)
    print(f"recovered in {time.perf_counter() - begun:.3f} s")
    assert heard.outcomes == dict.fromkeys((run.id for run in runs), "lost")
    begun = time.perf_counter()
    assert history_of(tmp_path, outcomes=["failed"]) == []
    print(f"searched in {time.perf_counter() - begun:.3f} s")
    assert len(history_of(tmp_path)) == 10_000
    give_up(ledger, *runs)
