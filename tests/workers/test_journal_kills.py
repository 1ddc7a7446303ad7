"""Processes that are killed at random, claimers included: each run has one end in the history."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from afterword._ledger.journal import recovery
from tests.support import ROOT
from tests.support.journals import Heard, history_of, in_flight_of
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("AFTERWORD_TEST_KILLS", "8"))
pytestmark = pytest.mark.timeout(300 + 30 * KILLS)
AT_ONCE = 3


class Workers:
    """Processes that keep one journal together, each with a file of notes of its own."""

    def __init__(self, directory: Path) -> None:
        self.journal, self.notes = directory / "journal", directory / "notes"
        self.notes.mkdir()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        notes = self.notes / str(len(list(self.notes.iterdir())))
        command = [sys.executable, "-m", "tests.workers.journal_worker", str(self.journal), str(notes)]
        self.processes.append(subprocess.Popen(command, cwd=ROOT))
        wait_until(lambda: notes.exists() and notes.stat().st_size > 10_000)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        self.processes.remove(process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def noted(self) -> dict[str, list[tuple[str, str]]]:
        """Return what was noted of each run or process: a word, and what it was about."""
        noted: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for file in self.notes.iterdir():
            for line in file.read_text().splitlines():
                word, name, *more = line.split()
                noted[name].append((word, *more) if more else (word, ""))
        return noted


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Provide workers, which are killed at the end."""
    workers = Workers(tmp_path)
    yield workers
    for process in list(workers.processes):
        with contextlib.suppress(ProcessLookupError):
            workers.kill(process)


def test_each_run_has_one_end_whenever_its_process_is_killed(workers: Workers):
    """Of every run that was scheduled, the history has exactly one end, which was told as nothing else."""
    for _ in range(AT_ONCE):
        workers.start()
    for number in range(KILLS):
        time.sleep(random.random() * 0.2)  # whatever they are doing then
        for process in random.sample(workers.processes, 1 + number % 2):  # the claimer of the one may be the other
            workers.kill(process)
        while len(workers.processes) < AT_ONCE:
            workers.start()
    for process in list(workers.processes):
        workers.kill(process)
    last = Heard()
    recovery.recover(str(workers.journal), last)
    assert in_flight_of(workers.journal) == []

    noted = workers.noted()
    for record in last.records:
        noted[record.run].append(("recovered" if record.recovered else "found", str(record.outcome)))
    history = history_of(workers.journal)
    ends = Counter(record.run for record in history)
    scheduled = {run for run, notes in noted.items() if ("scheduled", "") in notes}
    print(f"{len(scheduled)} runs, {Counter(record.outcome for record in history)}")
    assert [run for run, count in ends.items() if count > 1] == []
    assert scheduled - ends.keys() == set()
    assert sum(record.outcome == "lost" for record in history) > 0

    tellings = ("own", "found", "recovered")
    for record in history:
        told = [(word, outcome) for word, outcome in noted[record.run] if word in tellings]
        assert {outcome for _, outcome in told} == {record.outcome}, (record, told)
        # a second telling says that it may be one
        assert sum(word != "recovered" for word, _ in told) <= 1, (record, told)
    counted = Counter(name for name, notes in noted.items() for word, _ in notes if word == "counted")
    assert all(count == 1 for count in counted.values()) or counted.total() - len(counted) <= KILLS
