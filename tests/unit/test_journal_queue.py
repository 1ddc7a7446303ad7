"""What the journal keeps of a queue's tasks, and what is shown of it: attempts, who ran them, one list for all."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afterword._common.model import LOST, RETURNED, SENDING, SENT, UNSENT, Outcome, Reason, TaskRun
from afterword._ledger.journal.journal import Journal, journal_at
from afterword._ledger.journal.recovery import DeadProcess
from afterword._ledger.queue import QueueLedger
from afterword._views import causes, requests, runs, summary, tasks
from afterword._views.feed import feed_of
from afterword._views.reader import JournalReader
from tests.support.journals import (
    PUBLISH_SPAN,
    TRACE,
    WORKER,
    Heard,
    Ids,
    attempt_of,
    ended,
    history_of,
    in_flight_of,
    ledger_of,
    line_of,
    new_run,
    queue_ledger_of,
    write_ended,
)

DEATH = "the process that ran it died; look into the kernel's log"


@pytest.fixture
def books(journal: Journal) -> QueueLedger:
    """Provide the ledger of a worker that keeps a journal."""
    return queue_ledger_of(journal)


@pytest.fixture
def reader(directory: Path) -> JournalReader:
    """Provide who reads the journal."""
    return JournalReader(str(directory))


def returned(books: QueueLedger, run_id: str | None = None, attempt: int = 1, late: bool = False) -> str:
    """Let an attempt be returned, for the death of its process; return the id of its task."""
    run = attempt_of(run_id=run_id, attempt=attempt, late=late)
    books.receive(run)
    books.begin(run)
    assert books.give_back(run, Reason.WORKER_LOST, DEATH, ConnectionResetError())
    return run.id


def succeeded(books: QueueLedger, run_id: str | None = None, attempt: int = 1, late: bool = False) -> str:
    """Let an attempt end its task; return the id of the task."""
    run = attempt_of(run_id=run_id, attempt=attempt, late=late)
    books.receive(run)
    books.begin(run)
    assert books.close(run, Outcome.SUCCEEDED)
    return run.id


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_attempts_of_a_run(books: QueueLedger, reader: JournalReader, late: bool):
    """A run tells which attempt of which worker ended it, and each attempt before that, with reason and time."""
    run_id = returned(books, late=late)
    returned(books, run_id, 2, late)
    succeeded(books, run_id, 3, late)
    told: Any = runs.one(reader, run_id)
    run = told["run"]
    assert (run["engine"], run["attempt"], run["worker"], run["queue"]) == ("celery", 3, WORKER, "heavy")
    assert (run["outcome"], run["parent_span_id"], run["trace_id"]) == ("succeeded", PUBLISH_SPAN, TRACE)
    assert [(one["attempt"], one["outcome"], one["reason"]) for one in told["attempts"]] == [
        (1, RETURNED, "worker_lost"),
        (2, RETURNED, "worker_lost"),
    ]
    assert {one["error_type"] for one in told["attempts"]} == {"ConnectionResetError"}
    assert all(one["started_at"] <= one["ended_at"] <= run["ended_at"] for one in told["attempts"])


def test_an_attempt_is_no_run(books: QueueLedger, reader: JournalReader, directory: Path):
    """An attempt that did not end its task is in no list of runs and in no number, unless it is asked for."""
    feed = feed_of(reader)
    run_id = returned(books)
    assert history_of(directory) == []
    assert [record.outcome for record in history_of(directory, attempts=True)] == [RETURNED]
    changes = feed.poll()
    assert (changes.ended, changes.total) == ([], 0)
    succeeded(books, run_id, 2)
    changes = feed.poll()
    assert ([record.run for record in changes.ended], changes.total) == ([run_id], 1)
    assert summary.view(reader)["outcomes"]["succeeded"] == 1
    [task] = tasks.view(reader)["tasks"]
    assert (task["engine"], task["total"], task["counts"]) == ("celery", 1, {"succeeded": 1})


def test_a_task_between_two_attempts(books: QueueLedger, reader: JournalReader):
    """A task whose last attempt was returned, and which nobody has begun again, is found as it is."""
    run_id = returned(books)
    for asked in (run_id, run_id[:8]):
        told: Any = runs.one(reader, asked)
        assert (told["run"]["outcome"], told["run"]["reason"]) == (RETURNED, "worker_lost")
        assert told["attempts"] == []


def test_causes_of_attempts(books: QueueLedger, reader: JournalReader):
    """Attempts have causes of their own, with what to do about them; so have the summary's causes."""
    returned(books)
    returned(books)
    for found in (causes.view(reader), summary.view(reader)):
        [cause] = found["causes"]
        assert (cause["count"], cause["outcome"], cause["reason"]) == (2, RETURNED, "worker_lost")
        assert (cause["engine"], cause["detail"]) == ("celery", DEATH)
    assert causes.view(reader, outcomes=["failed"])["causes"] == []


def test_a_lost_attempt(directory: Path, reader: JournalReader):
    """What a dead worker had begun says which attempt that was, and what would have helped."""
    journal = journal_at(str(directory))
    books = queue_ledger_of(journal)
    run = attempt_of(attempt=2)
    books.receive(run)
    books.begin(run)
    returned(books, run.id)
    [record] = in_flight_of(directory)
    assert (record.attempt, record.worker, record.queue) == (2, WORKER, "heavy")
    journal.close()
    later, heard = journal_at(str(directory)), Heard()
    later.join(heard)
    later.recover()
    assert heard.outcomes == {run.id: LOST}
    [record] = history_of(directory)
    assert (record.outcome, record.attempt, record.worker) == (LOST, 2, WORKER)
    [cause] = causes.view(reader, outcomes=[LOST])["causes"]
    assert "with acks_late, its message would come again" in cause["detail"]
    books.close(run, Outcome.CANCELLED)
    later.close()


def test_what_comes_again_is_never_lost(directory: Path, reader: JournalReader):
    """A task that is acknowledged late is in flight while its worker lives; then that was an attempt, once."""
    journal = journal_at(str(directory))
    books = queue_ledger_of(journal)
    run = attempt_of(late=True)
    books.begin(run)
    [record] = in_flight_of(directory)
    assert (record.run, record.state) == (run.id, "running")
    journal.close()
    assert in_flight_of(directory) == []
    assert causes.view(reader)["causes"] == []
    later, heard = journal_at(str(directory)), Heard()
    later.join(heard)
    later.recover()
    assert heard.records == []
    assert [dead.lost for dead in heard.dead] == [[]]
    again = queue_ledger_of(later)
    succeeded(again, run.id, late=True)
    told: Any = runs.one(reader, run.id)
    [attempt] = told["attempts"]
    assert (attempt["outcome"], attempt["reason"], attempt["worker"]) == (RETURNED, "worker_lost", WORKER)
    assert attempt["detail"].endswith("died while it ran; its message comes again")
    assert told["run"]["outcome"] == "succeeded"
    books.close(run, Outcome.CANCELLED)
    later.close()


_begun: list[tuple[QueueLedger, TaskRun]] = []


@pytest.fixture(autouse=True)
def nothing_runs() -> Iterator[None]:
    """End what a test has begun, so that it is not found by others."""
    yield
    for books, run in _begun:
        books.close(run, Outcome.CANCELLED)
    _begun.clear()


def begun(books: QueueLedger, state: int = SENDING) -> TaskRun:
    """Let an attempt begin, and its acknowledgement be as far as that."""
    run = attempt_of()
    run._acknowledgement, run._tag, run._visible_until = UNSENT, "tag-1", 2e9
    books.begin(run)
    _begun.append((books, run))
    if state is not UNSENT:
        books.acknowledge(run, state)
    return run


def found_after(directory: Path, journal: Journal, heard: Heard) -> DeadProcess:
    """Let the process of a journal be found dead by another; return what it left."""
    journal.close()
    later = journal_at(str(directory))
    later.join(heard)
    [dead] = later.recover()
    later.close()
    return dead


@pytest.mark.parametrize(("answer", "is_lost"), [(True, False), (False, True), (None, True)])
def test_what_was_being_acknowledged(directory: Path, answer: bool | None, is_lost: bool):
    """Whether it is lost, the broker says, asked by its own name of the message; if it cannot, it is."""
    journal, heard = journal_at(str(directory)), Heard()
    run = begun(queue_ledger_of(journal))
    heard.brokers[run.id] = answer
    dead = found_after(directory, journal, heard)
    assert heard.asked == [("tag-1", 2e9)]
    assert [record.run for record in dead.lost] == [run.id] * is_lost
    assert [record.run for record in dead.interrupted] == [run.id] * (not is_lost)
    assert heard.outcomes == ({run.id: LOST} if is_lost else {})
    [record] = history_of(directory, attempts=True)
    assert record.outcome == (LOST if is_lost else RETURNED)


def test_a_broker_that_cannot_be_asked(directory: Path):
    """If asking raises, it is lost, as most of those are."""
    journal, heard = journal_at(str(directory)), Heard()
    begun(queue_ledger_of(journal))
    heard.still_has = lambda record: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    assert len(found_after(directory, journal, heard).lost) == 1


def test_before_and_after_an_acknowledgement(directory: Path):
    """Before it is sent, the message comes again, afterwards it is lost; nobody has to be asked."""
    journal, heard = journal_at(str(directory)), Heard()
    books = queue_ledger_of(journal)
    over = begun(books)
    books.close(over, Outcome.SUCCEEDED)
    first = begun(books, UNSENT)  # in the same slot
    second = begun(books, SENT)
    books.acknowledge(over, SENT)
    dead = found_after(directory, journal, heard)
    assert [record.run for record in dead.interrupted] == [first.id]
    assert [record.run for record in dead.lost] == [second.id]
    assert heard.asked == []


def test_killed_while_an_attempt_is_given_back(directory: Path):
    """What was written as returned is not lost, though its slot was in use; perhaps it was not counted."""
    journal, heard = journal_at(str(directory)), Heard()
    books = queue_ledger_of(journal)
    books.set_observers([seen for seen in books.observers if type(seen).__name__ != "QueueTold"])
    run_id = returned(books)
    dead = found_after(directory, journal, heard)
    assert (dead.lost, dead.interrupted) == ([], [])
    assert [(record.run, record.reason) for record in dead.returned] == [(run_id, "worker_lost")]
    assert len(history_of(directory, attempts=True)) == 1


def test_a_finder_that_dies(directory: Path, monkeypatch: pytest.MonkeyPatch):
    """What one finder has written of an attempt stands, whatever the broker tells the next one."""
    journal, first, second = journal_at(str(directory)), Heard(), Heard()
    run = begun(queue_ledger_of(journal))
    first.brokers[run.id], second.brokers[run.id] = True, False
    monkeypatch.setattr(first, "count", lambda dead: sys.exit("killed"))
    with pytest.raises(SystemExit):
        found_after(directory, journal, first)
    journal_at(str(directory)).close()
    later = journal_at(str(directory))
    later.join(second)
    [dead] = later.recover()
    later.close()
    assert (second.asked, dead.lost) == ([], [])
    assert [record.run for record in dead.interrupted] == [run.id]
    assert len(history_of(directory, attempts=True)) == 1


def test_texts_are_bounded(books: QueueLedger, directory: Path):
    """Names of any length fit into a slot; an id that does not is not noted, and harms nobody else's."""
    first, long, huge = attempt_of(), attempt_of(), attempt_of(run_id="ü" * 600)
    long._worker = long._destination = "é" * 5000
    for run in (first, long):
        books.begin(run)
    books.close(first, Outcome.SUCCEEDED)
    books.begin(huge)  # where the first one was, before the long one
    assert {record.run for record in in_flight_of(directory)} == {long.id}
    for run in (long, huge):
        books.close(run, Outcome.SUCCEEDED)
    assert {len(record.worker or "") for record in history_of(directory)} <= {0, len(WORKER), 200}


def test_an_older_journal(directory: Path, reader: JournalReader):
    """Lines that say nothing of an engine are Starlette's, without attempts."""
    write_ended(directory, line_of(at=1_000_000_000.0))
    [run] = runs.page(reader, runs.Filter())["runs"]
    assert run["engine"] == "starlette"
    assert not {"attempt", "worker", "queue"} & set(run)
    told: Any = runs.one(reader, run["task_run"])
    assert told["attempts"] == []


def test_ids_that_somebody_chose(books: QueueLedger, reader: JournalReader):
    """A run is found by an id of any kind, in its own letters; a beginning of it finds no other first."""
    chosen = succeeded(books, "Order-7")
    longer = succeeded(books, "Order-71-statement")
    for run_id in (chosen, longer):
        told: Any = runs.one(reader, run_id)
        assert told["run"]["task_run"] == run_id
    assert [record.run for record in runs.with_id(reader, "Order-71")] == [longer]
    assert runs.one(reader, str(uuid.uuid4())) is None


def test_one_list_for_both_engines(journal: Journal, books: QueueLedger, reader: JournalReader):
    """The tasks of a request are together, whichever engine runs them; a list can be of one engine."""
    own = ended(ledger_of(journal, traces=[Ids()]))
    published = succeeded(books)
    elsewhere = attempt_of("report")
    elsewhere.trace_id = "1" * 32
    books.begin(elsewhere)
    books.close(elsewhere, Outcome.SUCCEEDED)
    for one, other in ((own.id, published), (published, own.id)):
        told: Any = runs.one(reader, one)
        assert [run["task_run"] for run in told["others"]] == [other]
    groups = [{run["task_run"] for run in request["runs"]} for request in requests.view(reader)["requests"]]
    assert sorted(map(len, groups)) == [1, 2]
    assert {own.id, published} in groups
    listed = runs.page(reader, runs.Filter(engine="celery"))["runs"]
    assert {run["task_run"] for run in listed} == {published, elsewhere.id}
    listed = runs.page(reader, runs.Filter(engine="starlette"))["runs"]
    assert [run["task_run"] for run in listed] == [own.id]


def test_requests_of_one_trace_stay_apart(journal: Journal, books: QueueLedger, reader: JournalReader):
    """Two requests in one trace are two, and what a worker has run for them joins one of them."""
    ledger, own = ledger_of(journal, traces=[Ids()]), [new_run(), new_run()]
    for began, run in enumerate(own):
        assert run.request is not None
        run.request._began_at = 1_000_000_000.0 + began
    ended(ledger, own[0])
    published = succeeded(books)
    ended(ledger, own[1])
    groups = [{run["task_run"] for run in request["runs"]} for request in requests.view(reader)["requests"]]
    assert sorted(map(len, groups)) == [1, 2]
    assert {own[0].id, own[1].id} not in groups
    assert {own[0].id, published} in groups or {own[1].id, published} in groups
    assert all("began_at" in request for request in requests.view(reader)["requests"])
