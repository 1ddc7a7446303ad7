"""Real servers whose processes are killed under load: each run that was scheduled has one end, and is told."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.journals import history_of, in_flight_of
from tests.support.threads import repeating
from tests.support.waiting import wait_until
from tests.workers.served import Served, gunicorn, one, preloaded, uvicorn
from tests.workers.servers import Samples, balance, lost, scrape

CLIENTS = 3
KILLS = int(os.environ.get("AFTERWORD_TEST_KILLS", "6"))
"""Kills of each server; more on demand."""
pytestmark = pytest.mark.timeout(300 + 60 * KILLS)


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
