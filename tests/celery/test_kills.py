"""Workers that are killed under load: what was published ends once, is lost once, or is still in the queue.

``AFTERWORD_TEST_KILLS=50`` kills more often: ``.venv/bin/python -m pytest -s tests/celery/test_kills.py``.

A message that Redis has sent to a worker which is killed before it reads it is nowhere any more: kombu takes it
out of the list first, and notes it as unacknowledged afterwards. No worker has heard of such a task, so no account
can have it; it stays scheduled without an end. RabbitMQ keeps it. A worker that is killed between noting that a
task has begun and acknowledging its message leaves one that is told as lost, and runs again. Both are counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afterword._ledger.journal import history
from tests.celery.brokers import HAS_RABBITMQ, Redis, rabbitmq_server
from tests.celery.conftest import one_stage
from tests.celery.stage import Stage
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("AFTERWORD_TEST_KILLS", "4"))
TRANSPORT = "transport = dict(visibility_timeout=4, unacked_restore_interval=1, unacked_restore_throttle=1)"
pytestmark = pytest.mark.timeout(120 + 30 * KILLS)


@pytest.fixture(params=["redis", "rabbitmq"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, redis: Redis) -> Iterator[Stage]:
    """Provide a stage on each broker."""
    if request.param == "redis":
        with one_stage(tmp_path, redis) as stage:
            yield stage
    elif not HAS_RABBITMQ:
        pytest.skip("no rabbitmq-server")
    else:
        folder = tmp_path / "rabbitmq"
        folder.mkdir()
        with rabbitmq_server(folder, redis) as server, one_stage(tmp_path, server) as stage:
            yield stage


def waiting(stage: Stage) -> int:
    """Return how many messages the broker has, or would deliver again."""
    if isinstance(stage.redis, Redis):
        client: Any = stage.redis.client
        return int(client.llen("shop")) + int(client.hlen("unacked"))
    with stage.app.connection_for_write() as connection:
        queue = stage.app.amqp.queues["shop"].bind(connection.default_channel)
        return int(queue.queue_declare(passive=True).message_count)


def test_every_task_is_accounted_for(stage: Stage, tmp_path: Path):
    """However often a loaded worker is killed, each task ends or is lost once, in the journal and in the metrics.

    Counters outlive their workers in ``PROMETHEUS_MULTIPROC_DIR``, so that the next worker serves those of all.
    """
    journal, directory = tmp_path / "journal", tmp_path / "multiprocess"
    directory.mkdir()
    known = {"AFTERWORD_JOURNAL": str(journal), "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    known |= {"SHOP_SETTINGS": TRANSPORT} if isinstance(stage.redis, Redis) else {}
    published = Counter(stage.publish("naps").id for _ in range(40 * KILLS))

    def ends() -> Counter[str]:
        return Counter(record.run for record in history.ended(str(journal))) if journal.exists() else Counter()

    def report() -> str:
        return f"{len(ends())} of {len(published)}, {waiting(stage)} waiting{stage.report()}"

    for _ in range(KILLS):
        worker = stage.worker("prefork", "-c2", **known)
        enough = len(ends()) + 20
        wait_until(lambda: len(ends()) >= enough or not waiting(stage), 60, report)  # noqa: B023
        worker.kill()
        stage.workers.remove(worker)
    stage.worker("prefork", "-c2", **known)

    def is_over() -> bool:
        numbers = stage.counted()
        return not waiting(stage) and not numbers["held naps"] and not numbers["running naps"]

    wait_until(is_over, 120, report)
    records = list(history.ended(str(journal)))
    again = [each for each, number in ends().items() if number > 1]
    for each in again:
        assert sorted(record.outcome or "" for record in records if record.run == each) == ["lost", "succeeded"]
    assert len(again) <= KILLS
    lost = [record.run for record in records if record.outcome == "lost"]
    told = [line["task_run"] for line in stage.lines() if line["event"] == "background_task.lost"]
    assert sorted(told) == sorted(lost)

    logs = "".join(path.read_text() for path in stage.folder.glob("w*.log"))
    unheard_of = [each for each in published if not ends()[each]]
    assert not [each for each in unheard_of if each in logs]  # no worker has received it
    assert len(unheard_of) <= (KILLS if isinstance(stage.redis, Redis) else 0)
    numbers = stage.counted()
    by_redis, twice = f"{len(unheard_of)} taken along by Redis", f"{len(again)} run again"
    print(f"{KILLS} kills, {len(published)} published, {len(lost)} lost, {by_redis}, {twice}")
    assert numbers["scheduled naps"] == len(published)
    assert numbers["lost naps"] == len(lost)
    ended = numbers["ended naps succeeded"] + numbers["lost naps"]
    uncounted = len(published) + len(again) - ended - len(unheard_of)
    assert 0 <= uncounted <= max(1, KILLS // 10)  # written into the journal, and not counted before the kill
