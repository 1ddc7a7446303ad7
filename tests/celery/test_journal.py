"""What a real worker's journal keeps of tasks, and how it is shown: attempts, the worker, why and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from afterword._common.errors.withheld import WITHHELD
from afterword._ledger.journal import history
from afterword._views import causes, runs
from afterword._views.reader import JournalReader
from tests.celery.stage import SECONDS, Stage
from tests.support.waiting import wait_until

ENDS = {
    "retries": ["returned retry", "returned retry", "succeeded"],
    "requeues": ["returned requeued", "succeeded"],
    "killed_once": ["returned worker_lost", "succeeded"],
    "fails": ["failed exception"],
    "hard": ["failed time_limit"],
    "exits": ["failed worker_lost"],
    "coroutine": ["failed never_awaited"],
    "adds": ["abandoned unregistered"],
}


def test_a_workers_journal(stage: Stage, tmp_path: Path):
    """A run has its attempts with reason, time and worker; a cause says what to do about it."""
    reader = JournalReader(str(tmp_path / "journal"))
    stage.worker("prefork", AFTERWORD_JOURNAL=reader.directory, SHOP_WITHOUT="shop.adds")
    ids = {name: stage.publish(name, *([2] if name == "retries" else [])).id for name in ENDS}

    def told(name: str) -> list[dict[str, Any]]:
        found: Any = runs.one(reader, ids[name])
        return [] if found is None else [*found["attempts"], found["run"]]

    def ends(name: str) -> list[str]:
        return [" ".join(filter(None, (one.get("outcome"), one.get("reason")))) for one in told(name)]

    wait_until(lambda: {name: ends(name) for name in ENDS} == ENDS, SECONDS, stage.report)
    for one in (each for name in ENDS for each in told(name)):
        assert (one["engine"], one["worker"].partition("@")[0], one["queue"]) == ("celery", "w0", "shop")
        assert one["parent_trace_id"] == one["trace_id"] == stage.spans(one["task_run"])[0]["trace"]
    assert [one["attempt"] for one in told("retries")] == [1, 2, 3]
    assert [one["attempt"] for one in told("requeues")] == [1, 1]
    traceback = told("fails")[0]["traceback"]
    assert re.match(r'Traceback \(most recent call last\):\n  File ".*/shop\.py", line \d+, in fails\n', traceback)
    assert traceback.endswith('    raise ValueError("no such order")\nValueError: no such order\n')
    advice = {(each["outcome"], each["reason"]): each["detail"] for each in causes.view(reader)["causes"]}
    assert "raise its time_limit" in advice["failed", "time_limit"]
    assert "acks_late with reject_on_worker_lost" in advice["failed", "worker_lost"]
    assert "import its module there" in advice["abandoned", "unregistered"]
    assert "asyncio.run" in advice["failed", "never_awaited"]
    assert advice["returned", "worker_lost"].endswith("its message is in the queue again")


SECRET = "4929-1234-8765-0009"


@pytest.mark.parametrize("contrib", ["", "before"], ids=["alone", "beside contrib"])
def test_texts_of_exceptions_are_withheld(stage: Stage, tmp_path: Path, contrib: str):
    """With the privacy switch, no child and no main process writes what an exception says, nor contrib's span."""
    journal = tmp_path / "journal"
    known = {"AFTERWORD_JOURNAL": str(journal), "AFTERWORD_EXCEPTION_MESSAGES": "false", "SHOP_CONTRIB": contrib}
    stage.worker("prefork", **known)
    ways = "raise", "cause", "retry", "reject", "publish", "exit"
    ids = [stage.publish("tells", how, SECRET).id for how in ways]
    wait_until(lambda: all("failed" in " ".join(stage.told(each)) for each in ids), SECONDS, stage.report)
    wait_until(lambda: all("failed" in " ".join(stage.attempts(each)) for each in ids), SECONDS, stage.report)
    wait_until(lambda: {each.run for each in history.ended(str(journal))} >= set(ids))
    written = {path.name: path.read_text() for path in (tmp_path / "spans.jsonl", tmp_path / "lines.jsonl")}
    written["journal"] = "".join(path.read_bytes().decode("latin-1") for path in journal.iterdir())
    for name, said in written.items():
        assert [line for line in said.splitlines() if SECRET in line] == [], name
        assert WITHHELD in said or (name == "spans.jsonl" and contrib)
    assert SECRET in "".join(path.read_text() for path in tmp_path.glob("w*.log"))  # what Celery writes is its own
