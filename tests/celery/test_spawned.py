"""Children that are spawned: nothing is inherited, and each has a copy of the application that it was sent."""

from __future__ import annotations

from pathlib import Path

from tests.celery import versions
from tests.celery.stage import Stage


@versions.SPAWNS
def test_spawned_children(stage: Stage, tmp_path: Path):
    """They write lines and spans as forked ones do; what they publish is counted in files that all share."""
    numbers = tmp_path / "multiprocess"
    numbers.mkdir()
    known = {"SHOP_MODULE": "tests.celery.spawned", "PROMETHEUS_MULTIPROC_DIR": str(numbers)}
    stage.worker("prefork", "-c1", "--pool-start-method=spawn", **known)
    ids = {name: stage.publish(name).id for name in ("publishes", "fails")}
    ids["retries"] = stage.publish("retries", 1).id
    stage.settles(
        *("scheduled publishes", "started publishes", "ended publishes succeeded"),
        *("scheduled works", "started works", "ended works succeeded"),
        *("scheduled fails", "started fails", "ended fails failed"),
        *("scheduled retries", "2 started retries", "returned retries retry", "ended retries succeeded"),
    )
    stage.tells(ids["publishes"], "succeeded")
    stage.tells(ids["fails"], "failed exception")
    stage.tells(ids["retries"], "retry", "succeeded")
