"""Journals of processes that fork: each has its own files, and nobody touches those of another."""

import json
from pathlib import Path

import pytest

from afterword._ledger.journal import recovery
from tests.support.interpreter import run_fresh
from tests.support.journals import Heard, history_of, in_flight_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # an interpreter for each test

PROGRAM = """
import json, os, signal, sys, warnings
from afterword._ledger.journal import recovery
from afterword._ledger.journal.journal import journal_at
from tests.support.journals import Heard, ended, ledger_of, started

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
journal = journal_at(os.environ["JOURNAL"])
ledger = ledger_of(journal)
"""


def test_a_child_has_files_of_its_own(tmp_path: Path):
    """The child's first run opens its own files; it ends no run of its parent, who keeps the lock and goes on."""
    program = (
        PROGRAM
        + """
parents = started(ledger)
child = os.fork()
if not child:
    assert journal.writer is None
    ended(ledger)
    running = started(ledger)
    journal.close()
    print(json.dumps(running.id), flush=True)
    os._exit(0)
os.waitpid(child, 0)
heard = Heard()
recovery.recover(journal.directory, heard)
print(json.dumps([parents.id, [record.run for record in heard.records]]), flush=True)
ended(ledger)
os._exit(0)
"""
    )
    printed, _ = run_fresh(program, JOURNAL=str(tmp_path))
    childs, [parents, found] = map(json.loads, printed.splitlines())
    assert found == [childs]
    assert [record.run for record in in_flight_of(tmp_path)] == [parents]
    heard = Heard()
    recovery.recover(str(tmp_path), heard)
    assert heard.outcomes == {parents: "lost"}
    assert sorted(str(record.outcome) for record in history_of(tmp_path)) == [
        "lost",
        "lost",
        "succeeded",
        "succeeded",
    ]


def test_a_child_does_not_keep_its_parent_alive(tmp_path: Path):
    """If the parent dies, its account can be closed although a child of it lives."""
    program = (
        PROGRAM
        + """
run = started(ledger)
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.close(writing)
    os.read(reading, 1)  # until the parent is gone
    heard = Heard()
    while not heard.records:
        recovery.recover(journal.directory, heard)
    os.write(os.open(os.environ["JOURNAL"] + "/heard", os.O_CREAT | os.O_WRONLY), heard.records[0].run.encode())
    os._exit(0)
print(run.id, flush=True)
os._exit(0)
"""
    )
    printed, _ = run_fresh(program, JOURNAL=str(tmp_path))
    heard = tmp_path / "heard"
    wait_until(lambda: heard.exists() and heard.read_text() == printed.strip())


def test_a_process_that_only_forks_has_no_files(tmp_path: Path):
    """A server that makes the application before it forks its workers leaves nothing in the journal."""
    program = (
        PROGRAM
        + """
if not os.fork():
    ended(ledger)
    os._exit(0)
os.wait()
"""
    )
    run_fresh(program, JOURNAL=str(tmp_path))
    assert len(list(tmp_path.glob("*.live"))) == 1
    assert len(history_of(tmp_path)) == 1
