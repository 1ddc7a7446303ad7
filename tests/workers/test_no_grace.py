"""A server that is killed: what is told of its runs tells a deploy without grace from a crash."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afterword._views.causes import advice
from tests.support.journals import history_of
from tests.support.waiting import wait_until
from tests.workers.served import Served, one

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Provide a server, which is killed at the end."""
    served = Served(tmp_path, one)
    yield served
    served.kill()


def lost(served: Served, count: int) -> list[dict[str, Any]]:
    """Wait until so many runs were told as lost; return the lines of the last two."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in served.lines() if line["event"] == "background_task.lost"]

    wait_until(lambda: len(lines()) == count, why=served.log)
    return lines()[-2:]


def test_a_deploy_without_grace_is_told_from_a_crash(served: Served):
    """Only of a process that had been told to end is that told: by the line, its advice and the journal."""
    served.start_held()
    served.kill()
    served.start_held()
    assert [line.keys() & {"shutdown_s"} for line in lost(served, 2)] == [set(), set()]
    assert served.server is not None
    served.server.send_signal(signal.SIGTERM)
    said = served.lines_file.read_text
    wait_until(lambda: "shutdown.waiting" in said())
    served.kill()
    served.start()
    for line in lost(served, 4):
        assert line["shutdown_s"] >= 0
        assert f"its process {line['pid']} had been told to end at least" in line["detail"]
        assert "grace period" in line["detail"]
    kept = history_of(served.journal)
    assert [record.shutdown is None for record in kept] == [False, False, True, True]
    assert ["had been told to end" in advice(record) for record in kept] == [True, True, False, False]
