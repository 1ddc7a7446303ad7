"""A server that never says that it ends: what it could not tell, the next start tells, and as it was."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.journals import history_of, in_flight_of
from tests.workers.served import Served, one
from tests.workers.servers import scrape

pytestmark = pytest.mark.timeout(120)


def without_lifespan(port: int) -> list[str]:
    """Return the command line of uvicorn with one process that tells its application nothing of start and end."""
    return [*one(port)[:-1], "--lifespan", "off", "--timeout-graceful-shutdown", "1", one(port)[-1]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Provide such a server with one task that holds on and one behind it; it is killed at the end."""
    served = Served(tmp_path, without_lifespan)
    yield served
    served.kill()


def end(served: Served, *signals: signal.Signals) -> None:
    """End the server by signals, and wait for it."""
    assert served.server is not None
    for each in signals:
        served.server.send_signal(each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            served.server.wait(0.5)  # a server that was asked twice in a moment hears it once
    served.server.wait(20)
    served.server = None


def told(served: Served) -> dict[str, list[tuple[str, bool]]]:
    """Return what was told of each task: its outcome, and whether that was marked as recovered."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for line in served.lines():
        outcome = line["event"].removeprefix("background_task.")
        found.setdefault(line["task"], []).append((outcome, line.get("recovered", False)))
    return found


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGKILL,)],
    ids=["the grace is over", "interrupted", "interrupted twice", "killed"],
)
def test_the_next_start_tells_what_the_end_did_not_wait_for(served: Served, signals: tuple[signal.Signals, ...]):
    """Each run has one end in the history and is told once, as cancelled only if it was; the law holds."""
    served.start_held()
    end(served, *signals)
    served.start()
    samples = scrape(served.address)
    assert in_flight_of(served.journal) == []
    history = {record.task: record for record in history_of(served.journal)}
    assert len(history_of(served.journal)) == len(served.scheduled()) == 2
    was_cancelled = history["long"].run in served.cancelled()
    expected = {"long": "cancelled", "quick": "skipped"} if was_cancelled else dict.fromkeys(history, "lost")
    assert {task: record.outcome for task, record in history.items()} == expected
    assert told(served) == {task: [(outcome, False)] for task, outcome in expected.items()}
    if not was_cancelled:
        for task, state in {"long": "running", "quick": "pending"}.items():
            assert history[task].state == state
            numbers = [samples["background_task_" + name, task] for name in ("scheduled_total", "lost_total")]
            assert numbers == [1, 1]


def test_the_next_start_tells_a_cancellation(served: Served):
    """A run that was cancelled, but whose process died telling it, is told as cancelled, never as lost."""
    served.environment["DIES_OF"] = "cancelled"
    served.start_held()
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(f"{served.address}/cancel", timeout=10)
    end(served)
    served.start()
    scrape(served.address)
    outcomes = Counter((record.task, record.outcome) for record in history_of(served.journal))
    assert outcomes == {("long", "cancelled"): 1, ("quick", "lost"): 1}
    assert len(served.cancelled()) == 1
    # its line was written by its own process, whose last words these were
    assert told(served) == {"long": [("cancelled", False), ("cancelled", True)], "quick": [("lost", False)]}
