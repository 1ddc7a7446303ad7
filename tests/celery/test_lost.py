"""A whole worker that is killed: what nobody runs again is lost, and told once; the rest comes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from afterword._views import runs
from afterword._views.reader import JournalReader
from tests.celery.stage import Stage
from tests.celery.versions import SEARCHES_OFTEN
from tests.support.waiting import wait_until

SOON = "transport = dict(visibility_timeout=2, unacked_restore_interval=1, unacked_restore_throttle=1)"


def test_lost_with_a_worker(stage: Stage, tmp_path: Path):
    """What a killed worker had begun, its message acknowledged, is lost: the next one finds it in the journal."""
    journal = str(tmp_path / "journal")
    worker = stage.worker("prefork", "-c2", AFTERWORD_JOURNAL=journal)
    first, second = stage.publish("waits", "gate"), stage.publish("waits", "gate")
    stage.wait_begun("gate", 2)
    third = stage.publish("works")
    wait_until(lambda: stage.counted()["held works"] == 1 and stage.counted()["running waits"] == 2)
    wait_until(lambda: stage.redis.client.hlen("unacked") == 1)  # of what is not acknowledged, nothing is lost
    worker.kill()
    stage.workers.remove(worker)
    stage.worker("prefork", "-c1", AFTERWORD_JOURNAL=journal)
    stage.settles("2 scheduled waits", "2 lost waits", "scheduled works")
    for result in (first, second):
        assert stage.told(result.id) == ["lost"]
        [span] = [span for span in stage.spans(result.id) if span["kind"] != "PRODUCER"]
        assert span["attributes"]["background_task.outcome"] == "lost"
        [published] = [span for span in stage.spans(result.id) if span["kind"] == "PRODUCER"]
        assert (span["trace"], span["parent"]) == (published["trace"], published["span"])
    assert stage.told(third.id) == []


def test_what_comes_again_is_not_lost(stage: Stage, tmp_path: Path):
    """A task that is acknowledged late comes again when its worker was killed: an attempt was lost, no task."""
    journal = str(tmp_path / "journal")
    worker = stage.worker("prefork", "-c1", SHOP_SETTINGS=SOON, AFTERWORD_JOURNAL=journal)
    result = stage.publish("waits_late", "gate")
    stage.wait_begun("gate")
    wait_until(lambda: stage.counted()["running waits_late"] == 1)
    worker.kill()
    stage.workers.remove(worker)
    stage.open("gate")
    stage.worker("prefork", "-c1", SHOP_SETTINGS=SOON, AFTERWORD_JOURNAL=journal)
    stage.settles("scheduled waits_late", "started waits_late", "ended waits_late succeeded")
    stage.tells(result.id, "succeeded")
    told: Any = runs.one(JournalReader(journal), result.id)
    assert [(one["outcome"], one["reason"]) for one in told["attempts"]] == [("returned", "worker_lost")]


def killed_at_acknowledgement(stage: Stage, moment: str, **known: str) -> str:
    """Let a worker be killed about when it acknowledges its task; return the task's id."""
    worker = stage.worker("prefork", "-c1", SHOP_DIES=moment, **known)
    result = stage.publish("waits", "gate")
    worker.wait()
    stage.workers.remove(worker)
    stage.open("gate")
    return str(result.id)


def known_to_all(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of workers that share a journal, and files that their numbers outlive them in."""
    (folder / "multiprocess").mkdir()
    return more | {
        "AFTERWORD_JOURNAL": str(folder / "journal"),
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "multiprocess"),
    }


@SEARCHES_OFTEN
def test_killed_before_a_message_is_acknowledged(stage: Stage, tmp_path: Path):
    """What had begun when its worker was killed, its message not acknowledged yet, comes again: it is not lost."""
    known = known_to_all(tmp_path, SHOP_SETTINGS=SOON)
    task = killed_at_acknowledgement(stage, "long before", **known)
    stage.worker("prefork", "-c1", **known)
    ends = "returned waits worker_lost", "ended waits succeeded"
    stage.settles("scheduled waits", "2 started waits", *ends)
    stage.tells(task, "succeeded")
    told: Any = runs.one(JournalReader(known["AFTERWORD_JOURNAL"]), task)
    assert [(one["outcome"], one["reason"]) for one in told["attempts"]] == [("returned", "worker_lost")]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_a_message_is_acknowledged(stage: Stage, tmp_path: Path, moment: str):
    """If a worker was killed while it acknowledged a message, Redis says whether that is lost or comes again."""
    known = known_to_all(tmp_path)
    task = killed_at_acknowledgement(stage, moment, **known)
    stage.worker("prefork", "-c1", **known)
    is_lost = moment == "after"
    end = "lost waits" if is_lost else "returned waits worker_lost"
    stage.settles("scheduled waits", "started waits", end)
    assert stage.told(task) == ["lost"] * is_lost
    assert stage.redis.client.hlen("unacked") == (not is_lost)


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_a_journal_in_one_process(stage: Stage, tmp_path: Path, pool: str):
    """In a pool without children, too, the next worker tells what was lost with the last one."""
    journal = str(tmp_path / "journal")
    worker = stage.worker(pool, AFTERWORD_JOURNAL=journal)
    result = stage.publish("waits", "gate")
    stage.wait_begun("gate")
    wait_until(lambda: stage.counted()["running waits"] == 1)
    wait_until(lambda: not stage.redis.client.hlen("unacked"))  # what is not acknowledged comes again
    worker.kill()
    stage.workers.remove(worker)
    stage.worker(pool, AFTERWORD_JOURNAL=journal)
    stage.settles("scheduled waits", "lost waits")
    assert stage.told(result.id) == ["lost"]


def test_a_task_that_replaced_itself_is_lost(stage: Stage, tmp_path: Path):
    """What replaces a task has its id, and is a run of its own: it is lost, though the first one has succeeded."""
    journal = str(tmp_path / "journal")
    worker = stage.worker("prefork", "-c1", AFTERWORD_JOURNAL=journal)
    result = stage.publish("replaces_itself", "gate")
    stage.wait_begun("gate")
    wait_until(
        lambda: stage.counted()["running waits"] == 1 and stage.counted()["ended replaces_itself succeeded"]
    )
    stage.tells(result.id, "succeeded replaced")
    assert stage.counted()["scheduled waits"] == 1  # by the worker: its counters go with it
    wait_until(lambda: not stage.redis.client.hlen("unacked"))
    worker.kill()
    stage.workers.remove(worker)
    stage.worker("prefork", "-c1", AFTERWORD_JOURNAL=journal)
    stage.settles("scheduled replaces_itself", "lost waits")
    assert sorted(stage.told(result.id)) == ["lost", "succeeded replaced"]
