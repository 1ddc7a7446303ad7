"""Without a journal: the last runs of this process, in memory, which answer as a journal does."""

from __future__ import annotations

import gc
import json
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterword._common.model import Outcome, Reason, RequestInfo, TaskRun
from afterword._ledger.journal.history import Filter
from afterword._ledger.journal.journal import journal_at
from afterword._ledger.journal.observers import with_journal
from afterword._ledger.recent import RecentRuns
from afterword._ledger.runs import Ledger
from afterword._views import causes, now, requests, runs, summary, tasks
from afterword._views.feed import feed_of
from afterword._views.reader import JournalReader, Reader, RecentReader
from tests.support.journals import Ids, ended, give_up, new_run, raised, scheduled, started

VIEWS: dict[str, Callable[[Reader, float], Any]] = {
    "summary": lambda reader, at: summary.view(reader, now=at),
    "causes": lambda reader, at: causes.view(reader, now=at),
    "tasks": lambda reader, at: tasks.view(reader, now=at),
    "requests": lambda reader, at: requests.view(reader, now=at),
    "runs": lambda reader, at: runs.page(reader, Filter(), limit=3, now=at),
    "failed": lambda reader, at: runs.page(reader, Filter(outcomes=["failed"], named="mail"), now=at),
    "states": lambda reader, at: runs.page(reader, Filter(), states=["pending", "running"], now=at),
    "now": lambda reader, at: now.view(reader, now=at),
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["schedule", "schedule", "start", "succeed", "fail", "cancel", "drop"]),
        st.integers(0, 5),
        st.sampled_from(["mail", "shop.mail", "audit \ud800"]),
        st.sampled_from(["/a", "/b"]),
    ),
    max_size=40,
)


@pytest.fixture
def recent() -> RecentRuns:
    """Provide what keeps the last runs."""
    return RecentRuns()


@pytest.fixture
def ledger(recent: RecentRuns) -> Ledger:
    """Provide a ledger whose runs are kept, with spans."""
    return Ledger([Ids(), recent])


def comparable(answer: Any) -> Any:
    """Return an answer without what tells a journal from the memory of a process."""
    if isinstance(answer, dict):
        return {
            key: comparable(each) for key, each in answer.items() if key not in ("source", "process", "seen_at")
        }
    return list(map(comparable, answer)) if isinstance(answer, list) else answer


def play(ledger: Ledger, steps: list[tuple[str, int, str, str]]) -> list[TaskRun]:
    """Move runs along as a story tells; a step that is not possible is left out."""
    known: list[TaskRun] = []
    for step, number, name, route in steps:
        if step == "schedule":
            request = RequestInfo("POST", route, f"r-{number}")
            request._began_at = 1_700_000_000.0 + number
            known.append(scheduled(ledger, TaskRun(name, f"shop.{name}", request, 0, is_async=True)))
        elif number < len(known):
            run = known[number]
            match step:
                case "start":
                    ledger.start(run)
                case "succeed":
                    ledger.finish(run, Outcome.SUCCEEDED)
                case "fail":
                    ledger.finish(run, Outcome.FAILED, Reason.EXCEPTION, "it raised", raised())
                case "cancel":
                    ledger.finish(run, Outcome.CANCELLED, Reason.CANCELLED, "it was cancelled")
                case "drop":
                    ledger.end_unstarted(run, Outcome.DROPPED, Reason.REQUEST_FAILED, "answer first")
    return known


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_memory_and_journal_tell_the_same_story(steps: list[tuple[str, int, str, str]]):
    """Whatever becomes of some runs, each view answers alike from a journal and from memory."""
    with tempfile.TemporaryDirectory() as directory:
        journal, recent = journal_at(directory), RecentRuns()
        try:
            # before all that may change an ended run
            ledger = Ledger(with_journal(journal, [Ids()], [recent]))
            known = play(ledger, [("schedule", 0, "first", "/"), *steps])
            at = time.time()
            readers: tuple[Reader, Reader] = RecentReader(recent), JournalReader(directory)
            for name, view in VIEWS.items():
                one, other = (comparable(view(reader, at)) for reader in readers)
                assert one == other, name
            for run in known:
                one, other = (comparable(runs.one(reader, run.id, now=at)) for reader in readers)
                assert one == other
                assert one["run"]["task_run"] == run.id
            give_up(ledger, *known)
        finally:
            journal.close()


def test_its_source_says_what_is_not_in_it(recent: RecentRuns, ledger: Ledger):
    """The page can say that other workers are not in it, how much is kept, and since when."""
    assert RecentReader(recent).source().oldest is None
    first = ended(ledger)
    ended(ledger)
    source = RecentReader(recent).source()
    assert source.kind == "memory"
    assert str(os.getpid()) in source.detail
    assert "10,000" in source.detail
    assert source.oldest == pytest.approx(first.ended_at, abs=1e-5)


def test_the_number_of_runs_is_bounded():
    """The oldest make room for the newest."""
    recent = RecentRuns(most=5)
    ledger = Ledger([recent])
    last = [ended(ledger) for _ in range(12)][-5:]
    assert [record.run for record in recent.history(Filter())] == [run.id for run in reversed(last)]


def test_the_bytes_of_runs_are_bounded():
    """Runs with long tracebacks push out more of the others."""
    recent = RecentRuns(most_bytes=60_000)
    ledger = Ledger([recent])
    for _ in range(100):
        ended(ledger)
        ended(ledger, exc=raised("x" * 3000))
        assert sum(map(len, recent.lines())) <= 60_000
    assert len(recent.lines()) > 5


def test_nothing_is_kept_of_a_run_but_its_line(recent: RecentRuns, ledger: Ledger):
    """A run that has ended and its exception can be collected."""

    class Precious(Exception):
        pass

    exc = raised(kind=Precious)
    run = ended(ledger, exc=exc)
    known = weakref.ref(run), weakref.ref(exc)
    assert len(recent.lines()) == 1
    exc.__traceback__ = None
    del run, exc
    gc.collect()
    assert [each() for each in known] == [None, None]


def test_a_run_that_was_scheduled_before_is_told_when_it_ends(recent: RecentRuns):
    """Where memory comes later than a run, its end is kept all the same."""
    ledger = Ledger([])
    run = started(ledger)
    ledger.set_observers([recent])
    assert recent.in_flight(Filter()) == []
    ledger.finish(run, Outcome.SUCCEEDED)
    assert [record.run for record in recent.history(Filter())] == [run.id]


def test_threads_may_read_and_write_at_once(ledger: Ledger, recent: RecentRuns):
    """Nobody who reads meets a half-changed list, and nothing gets lost that threads write."""
    stop = threading.Event()
    faults: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                summary.view(RecentReader(recent))
                recent.in_flight_count()
        except BaseException as fault:  # told to the test
            faults.append(fault)

    def write() -> None:
        for _ in range(300):
            ended(ledger, new_run())

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert faults == []
    assert len(recent.lines()) == 1200
    assert recent.in_flight_count() == (0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_begins_anew(recent: RecentRuns, ledger: Ledger):
    """What there was at the fork is the parent's; the child has an id of its own."""
    ended(ledger)
    left = started(ledger)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            mine = [recent.lines() != [], recent.in_flight(Filter()) != [], recent.process]
            os.write(writing, json.dumps(mine).encode())
        finally:
            os._exit(0)
    os.close(writing)
    told = json.loads(os.read(reading, 1000))
    os.close(reading)
    os.waitpid(child, 0)
    assert told[:2] == [False, False]
    assert told[2] != recent.process
    assert [record.run for record in recent.in_flight(Filter())] == [left.id]
    give_up(ledger, left)


def test_its_feed_tells_what_is_new(recent: RecentRuns, ledger: Ledger):
    """Each end is told once, newest first, and of many the newest, with the number of all."""
    ended(ledger)
    feed = feed_of(RecentReader(recent))
    assert feed.poll() == ([], 0, 0, 0)
    new = [ended(ledger), ended(ledger)]
    left = [started(ledger), scheduled(ledger), scheduled(ledger)]
    changes = feed.poll()
    assert [record.run for record in changes.ended] == [run.id for run in reversed(new)]
    assert changes[1:] == (2, 2, 1)
    many = [ended(ledger) for _ in range(150)]
    changes = feed.poll()
    assert [record.run for record in changes.ended] == [run.id for run in reversed(many[-10:])]
    assert changes.total == 150
    give_up(ledger, *left)
