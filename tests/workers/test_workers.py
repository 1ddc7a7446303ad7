"""Several workers, one account, on real servers; one worker is killed in the middle."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.waiting import wait_until
from tests.workers.closing import DEAD
from tests.workers.servers import balance, gunicorn, lost, run_module, scrape, serve, succeeded, uvicorn

pytestmark = pytest.mark.timeout(120)

SERVERS = pytest.mark.parametrize("command", [gunicorn, uvicorn], ids=lambda command: command.__name__)


def visit(address: str, path: str, times: int) -> set[int]:
    """Send requests over connections of their own, so that both workers get some; return who answered."""
    return {httpx.get(f"{address}{path}", timeout=10).json() for _ in range(times)}


def held_by_each(address: str) -> dict[int, int]:
    """Ask until both workers have said how many tasks they run."""
    found: dict[int, int] = {}

    def ask() -> bool:
        answer = httpx.get(f"{address}/held", timeout=10).json()
        found[answer["pid"]] = answer["running"]
        return len(found) == 2

    wait_until(ask)
    return found


def hold_in_both(address: str) -> dict[int, int]:
    """Start long tasks until both workers run some, whichever takes the requests; return how many each runs."""
    sent = 0

    def some_more() -> bool:
        nonlocal sent
        visit(address, "/long", 10)
        sent += 10
        return all(held_by_each(address).values())

    wait_until(some_more)
    wait_until(lambda: sum(held_by_each(address).values()) == sent)
    return held_by_each(address)


@SERVERS
def test_a_killed_worker_loses_exactly_what_it_held(command: Callable[[int], list[str]], tmp_path: Path):
    """Counters stay, gauges recover, the law holds, and lost is exactly what the dead worker held."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(command, directory, log) as address:
        visit(address, "/quick", 60)
        held = hold_in_both(address)
        wait_until(lambda: succeeded(address, "quick") == 60)
        before = scrape(address)
        victim = max(held, key=lambda pid: held[pid])
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: lost(scrape(address), "long") == held[victim], why=log.read_text)
        after = scrape(address)
        assert lost(after, "quick") == held[victim]  # the pending ones, behind the long ones
        survivors = sum(held.values()) - held[victim]
        assert after["background_task_running", "long"] == after["background_task_pending", "quick"] == survivors
        assert all(after[key] >= value for key, value in before.items() if "_total" in key[0])
        assert {name: balance(after, name) for name in ("quick", "long")} == {"quick": 0, "long": 0}
        visit(address, "/quick", 20)
        wait_until(lambda: succeeded(address, "quick") == 80, why=log.read_text)
        assert lost(scrape(address), "long") == held[victim]
    assert "background_task.lost" in log.read_text()


@SERVERS
def test_every_worker_answers_for_all(command: Callable[[int], list[str]], tmp_path: Path):
    """Whichever worker answers a scrape, the numbers are those of all workers."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(command, directory, log) as address:
        answered: list[int] = []

        def both_have_answered() -> bool:
            answered.extend(pid for _ in range(20) for pid in visit(address, "/quick", 1))
            return len(set(answered)) == 2

        wait_until(both_have_answered, why=log.read_text)
        sent = len(answered)
        wait_until(lambda: succeeded(address, "quick") == sent, why=log.read_text)
        assert {scrape(address)["background_task_scheduled_total", "quick"] for _ in range(10)} == {sent}


def test_the_directory_is_cleared_at_the_start(tmp_path: Path):
    """Under gunicorn, what an earlier server left in the directory is not counted again."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    for _ in range(2):
        with serve(gunicorn, directory, log) as address:
            visit(address, "/quick", 5)
            wait_until(lambda: succeeded(address, "quick") == 5, why=log.read_text)


@pytest.mark.parametrize("path", ["missing", "file"])
def test_an_unusable_directory_harms_nobody(path: str, tmp_path: Path):
    """Where the workers' directory is missing or none, the application runs, and the log says what is wrong."""
    (tmp_path / "file").write_text("no directory")
    log = tmp_path / "log"
    with serve(uvicorn, tmp_path / path, log) as address:
        visit(address, "/quick", 5)
        scraped = httpx.get(f"{address}/metrics", timeout=10)
        assert scraped.status_code == 200
        assert "background_task_" not in scraped.text
    assert "is not a directory; create it before the server starts" in log.read_text()


def test_a_directory_that_vanishes_harms_nobody(tmp_path: Path):
    """Where the directory is removed under running workers, requests and scrapes go on."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(uvicorn, directory, log) as address:
        visit(address, "/quick", 5)
        shutil.rmtree(directory)
        visit(address, "/quick", 5)
        assert httpx.get(f"{address}/metrics", timeout=10).status_code == 200


def test_accounts_that_several_close_at_once_are_closed_once(tmp_path: Path):
    """What dead processes held is lost once, however many scrapes come upon it at a time."""
    printed, _ = run_module(tmp_path, "tests.workers.closing")
    totals = dict(line.split() for line in printed.splitlines() if line.startswith("background_task_"))
    assert totals == {
        "background_task_scheduled_total": str(DEAD),
        "background_task_lost_total": str(DEAD),
        "background_task_pending": "0",
    }


def test_clearing_the_directory_from_the_command_line(tmp_path: Path):
    """`python -m afterword.multiprocess` clears the directory, and not even a warning is said."""
    directory = tmp_path / "metrics"
    for _ in range(2):  # makes it, clears it
        assert run_module(directory, "afterword.multiprocess", "-W", "error") == ("", "")
        assert list(directory.iterdir()) == []
        (directory / "counter_1.afterword.db").write_bytes(bytes(100))
