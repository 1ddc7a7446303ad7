"""Workers that are killed under load: what was published ends once, is lost once, or is still in the queue.

``AFTERWORD_TEST_KILLS=50`` kills more often: ``.venv/bin/python -m pytest -q tests/celery/test_kills.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from afterword._ledger.journal import history
from tests.celery.stage import Stage
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("AFTERWORD_TEST_KILLS", "4"))
TRANSPORT = "transport = dict(visibility_timeout=4, unacked_restore_interval=1, unacked_restore_throttle=1)"
pytestmark = pytest.mark.timeout(60 + 20 * KILLS)


def missing(stage: Stage, published: Counter[str], ends: Counter[str]) -> str:
    """Return what the workers have said of the tasks that have not ended."""
    logs = [line for path in sorted(stage.folder.glob("w*.log")) for line in path.read_text().splitlines()]
    of = {each: [line for line in logs if each in line] for each in published if each not in ends}
    left = stage.redis.client.llen("shop"), stage.redis.client.hlen("unacked")
    return f"{len(of)} have not ended; {left} in the queue and unacknowledged: {of}"


def test_every_task_is_accounted_for(stage: Stage, tmp_path: Path):
    """However often a loaded worker is killed, each task ends or is lost once, in the journal and in the metrics.

    Counters outlive their workers in ``PROMETHEUS_MULTIPROC_DIR``, so that the next worker serves those of all.
    """
    journal, directory = tmp_path / "journal", tmp_path / "multiprocess"
    directory.mkdir()
    known = {"AFTERWORD_JOURNAL": str(journal), "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    published = Counter(stage.publish("naps").id for _ in range(40 * KILLS))

    def ends() -> Counter[str]:
        return Counter(record.run for record in history.ended(str(journal))) if journal.exists() else Counter()

    def wait_for(number: int) -> None:
        wait_until(lambda: len(ends()) >= number, 60, lambda: missing(stage, published, ends()))

    for _ in range(KILLS):
        worker = stage.worker("prefork", "-c2", SHOP_SETTINGS=TRANSPORT, **known)
        wait_for(len(ends()) + 20)
        worker.kill()
        stage.workers.remove(worker)
    stage.worker("prefork", "-c2", SHOP_SETTINGS=TRANSPORT, **known)
    wait_for(len(published))
    records = list(history.ended(str(journal)))
    twice = [each for each, number in ends().items() if number > 1]
    assert not twice, [(r.run, r.outcome, r.pid) for r in records if r.run in twice]
    assert ends() == published
    lost = [record.run for record in records if record.outcome == "lost"]
    told = [line["task_run"] for line in stage.lines() if line["event"] == "background_task.lost"]
    assert sorted(told) == sorted(lost)
    numbers = stage.counted()
    print(f"{KILLS} kills, {len(published)} published, {len(lost)} lost: {numbers}")
    assert numbers["scheduled naps"] == len(published)
    assert numbers["lost naps"] == len(lost)
    assert numbers["ended naps succeeded"] + numbers["lost naps"] == len(published)
    assert (numbers["held naps"], numbers["running naps"], stage.redis.client.llen("shop")) == (0, 0, 0)
