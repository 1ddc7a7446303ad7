"""The user's observers and callbacks, which the worker's main process tells, once each."""

from __future__ import annotations

import pytest

from tests.celery.stage import Stage
from tests.support.waiting import wait_until


@pytest.mark.parametrize("pool", ["prefork", "gevent"])
def test_observers_and_callbacks(stage: Stage, pool: str):
    """Observers are told of each attempt and each end by the main process, and callbacks of each failure."""
    worker = stage.worker(pool)
    first, second = stage.publish("retries", 1, "fails"), stage.publish("works")
    stage.settles(
        *("scheduled retries", "2 started retries", "returned retries retry", "ended retries failed"),
        *("scheduled works", "started works", "ended works succeeded"),
    )
    told = list(stage.read("board.jsonl"))
    assert {entry["engine"] for entry in told} == {"celery"}
    assert {entry["pid"] for entry in told} == {worker.process.pid}
    # the second attempt may begin before the main process hears of the end of the first
    assert sorted((entry["attempt"], entry["what"]) for entry in told if entry["id"] == first.id) == [
        *((1, "returned"), (1, "started")),
        *((2, "ended"), (2, "started")),
    ]
    assert [entry["what"] for entry in told if entry["id"] == second.id] == ["started", "ended"]
    wait_until(lambda: len(list(stage.read("alerts.jsonl"))) == 2)
    alerts = list(stage.read("alerts.jsonl"))
    assert {(each["id"], each["exc"], each["how"]) for each in alerts} == {
        (first.id, "ValueError", "sync"),
        (first.id, "ValueError", "async"),
    }
