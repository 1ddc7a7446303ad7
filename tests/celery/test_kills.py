"""Workers that are killed under load: what was published ends once, is lost once, or is still in the queue."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from afterword._ledger.journal import history
from tests.celery.stage import Stage
from tests.support.waiting import wait_until

_ = None
KILLS = int(os.environ.get("AFTERWORD_TEST_KILLS", "4"))
TRANSPORT = "transport = dict(visibility_timeout=4, unacked_restore_interval=1, unacked_restore_throttle=1)"


def test_every_task_is_accounted_for(stage: Stage, tmp_path: Path):
    """However often a loaded worker is killed, each task has one end in the journal; what is lost is told once."""
    journal = tmp_path / "journal"
    known = {"AFTERWORD_JOURNAL": str(journal), "SHOP_SETTINGS": TRANSPORT}
    published = Counter(stage.publish("naps").id for _ in range(30 * KILLS))

    def ends() -> Counter[str]:
        return Counter(record.run for record in history.ended(str(journal))) if journal.exists() else Counter()

    def wait_for(number: int) -> None:
        wait_until(lambda: len(ends()) >= number, 60, lambda: f"{len(ends())} of {len(published)}")

    for _ in range(KILLS):
        worker = stage.worker("prefork", "-c2", **known)
        wait_for(len(ends()) + 10)
        worker.kill()
        stage.workers.remove(worker)
    stage.worker("prefork", "-c2", **known)
    wait_for(len(published))
    assert ends() == published
    lost = [record.run for record in history.ended(str(journal)) if record.outcome == "lost"]
    assert len(lost) <= 2 * KILLS  # what two children can have in hand
    told = [line["task_run"] for line in stage.lines() if line["event"] == "background_task.lost"]
    assert sorted(told) == sorted(lost)
