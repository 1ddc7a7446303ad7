"""Real servers whose processes are killed under load: each run that was scheduled has one end, and is told."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.shop.process import free_port
from tests.support import ROOT
from tests.support.journals import history_of, in_flight_of
from tests.support.threads import repeating
from tests.support.waiting import wait_until
from tests.workers.servers import Samples, balance, is_up, lost, scrape

APP = "tests.workers.journal_app:app"
CLIENTS = 3
KILLS = int(os.environ.get("AFTERWORD_TEST_KILLS", "6"))
"""Kills of each server; more on demand."""
pytestmark = pytest.mark.timeout(300 + 60 * KILLS)


def one(port: int) -> list[str]:
    """Return the command line of uvicorn with one process."""
    return [sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log", APP]


def uvicorn(port: int) -> list[str]:
    """Return that of uvicorn with two workers."""
    return [*one(port)[:-1], "--workers", "2", APP]


def gunicorn(port: int) -> list[str]:
    """Return that of gunicorn with two workers, and the shipped configuration."""
    return [sys.executable, "-m", "gunicorn", "-c", "examples/gunicorn.conf.py", "-b", f"127.0.0.1:{port}", APP]


def preloaded(port: int) -> list[str]:
    """Return that of gunicorn whose workers are forked from a process that has loaded the application."""
    return [*gunicorn(port)[:-1], "--preload", APP]


class Served:
    """A server, its journal and its witnesses, for longer than one of its lives."""

    def __init__(self, directory: Path, command: Callable[[int], list[str]]) -> None:
        self.directory, self.port = directory, free_port()
        self.journal, self.lines_file = directory / "journal", directory / "lines"
        self.command = command(self.port)
        self.address = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "AFTERWORD_JOURNAL": str(self.journal),
            "AFTERWORD_JOURNAL_RUNS": "1000000",
            "AFTERWORD_JOURNAL_MB": "4000",
            "WITNESS": str(directory / "witness"),
            "LINES": str(self.lines_file),
            "PYTHONWARNINGS": "",
        }
        for name in ("witness", "metrics"):
            (directory / name).mkdir()
        if command is not one:
            self.environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory / "metrics")
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self.server = subprocess.Popen(
                self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: is_up(self.address), why=self.log)

    def log(self) -> str:
        return (self.directory / "log").read_text()[-5000:]

    def kill(self) -> None:
        """Kill every process of the server."""
        if self.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait(10)
            self.server = None

    def scheduled(self) -> set[str]:
        """Return the runs that their own processes have noted as scheduled."""
        return {run for file in (self.directory / "witness").iterdir() for run in file.read_text().split()}

    def lines(self) -> list[dict[str, Any]]:
        """Return the whole lines that were written about a run."""
        found = []
        for line in self.lines_file.read_text().splitlines():
            with contextlib.suppress(ValueError):  # torn by a kill
                found.append(json.loads(line))
        return [line for line in found if "task_run" in line and line["level"] != "debug"]


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    """Provide a server, which is killed at the end."""
    served = Served(tmp_path, request.param)
    served.start()
    yield served
    served.kill()


@contextlib.contextmanager
def load(address: str) -> Iterator[set[int]]:
    """Let clients schedule tasks for as long as this lasts; yield who has answered so far."""
    answered = set[int]()

    def visit(_: threading.Event) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answered.add(httpx.get(f"{address}/many", timeout=10).json())

    with repeating(visit, CLIENTS):
        yield answered


def at_rest(address: str) -> bool:
    """Return whether no task is in flight."""
    with contextlib.suppress(httpx.HTTPError):
        samples = scrape(address)
        return not any(samples.get((f"background_task_{now}", "quick")) for now in ("pending", "running"))
    return False


def counted(samples: Samples) -> Counter[str]:
    """Return what the numbers say: how many were scheduled, started, ended in each way, and were lost."""
    found = Counter({"lost": int(lost(samples, "quick"))})
    for (series, task), value in samples.items():
        name, _, outcome = series.removeprefix("background_task_").partition(" ")
        if task == "quick" and name in ("scheduled_total", "started_total", "ended_total", "failures_total"):
            found[outcome or name.removesuffix("_total")] += int(value)
    return +found


def kill_under_load(served: Served, number: int) -> None:
    """Kill one process while it works; by turns alone, with the one that closes its account, and all there are."""
    with load(served.address) as answered:
        wait_until(lambda: bool(answered), why=served.log)
        time.sleep(random.random() * 0.2)  # whatever it is doing then
        if served.command == one(served.port) or number % 3 == 2:
            served.kill()
        else:
            first = random.choice(sorted(answered))
            kill(first)
            if number % 3 == 1:
                kill_while_closing(served.address, answered - {first})
    if served.server is None:
        served.start()


def kill(pid: int) -> None:
    """Kill a process, unless it is dead."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_while_closing(address: str, others: set[int]) -> None:
    """Let somebody close the account of the dead, and kill all who may be doing that in the middle of it."""

    def ask() -> None:
        with contextlib.suppress(httpx.HTTPError):
            scrape(address)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(random.random() * 0.05)
    for pid in others:
        kill(pid)
    asking.join()


@pytest.mark.parametrize(
    "served", [one, uvicorn, gunicorn, preloaded], ids=lambda command: command.__name__, indirect=True
)
def test_each_run_has_one_end_and_the_numbers_balance(served: Served):
    """Whenever a process is killed, each run has one end in the history, which is told and never otherwise."""
    for number in range(KILLS):
        kill_under_load(served, number)
        wait_until(lambda: at_rest(served.address), why=served.log)
        wait_until(lambda: in_flight_of(served.journal) == [], why=lambda: in_flight_of(served.journal))
        samples = scrape(served.address)
        assert ("background_task_scheduled_total", "quick") not in samples or balance(samples, "quick") == 0, (
            samples
        )
    samples = scrape(served.address)
    print(lost(samples, "quick"), "lost in the last life")

    history = history_of(served.journal)
    outcomes = {record.run: record.outcome for record in history}
    ends = Counter(record.run for record in history)
    print(f"{len(served.scheduled())} scheduled, {Counter(outcomes.values())}")
    assert [run for run, count in ends.items() if count > 1] == []
    assert served.scheduled() - ends.keys() == set()
    # what is noted by nobody was written down, and its process died before the witness could say so
    assert {outcomes[run] for run in ends.keys() - served.scheduled()} <= {"lost"}
    assert "lost" in outcomes.values()
    if served.command == uvicorn(served.port):  # nothing clears its files: they have every life
        started = sum(record.started_at is not None for record in history)
        expected = Counter(outcomes.values())
        expected |= Counter(scheduled=len(history), started=started, failures=expected["failed"])
        assert counted(samples) == expected

    told: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for line in served.lines():
        outcome = line["event"].removeprefix("background_task.")
        told[line["task_run"]].append((outcome, line.get("recovered", False)))
    for run, outcome in outcomes.items():
        assert {said for said, _ in told[run]} == {outcome}, (run, outcome, told[run])
        assert sum(not recovered for _, recovered in told[run]) <= 1, (run, told[run])
