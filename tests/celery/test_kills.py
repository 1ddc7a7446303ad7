"""Workers that are killed under load: what was published ends once, is lost once, or is still in the queue.

``AFTERWORD_TEST_KILLS=50`` kills more often: ``.venv/bin/python -m pytest -s tests/celery/test_kills.py``.

A message that Redis has sent to a worker which is killed before it reads it is nowhere any more: kombu takes it
out of the list first, and notes it as unacknowledged afterwards. No worker has heard of such a task, so no account
can have it; it stays scheduled without an end. RabbitMQ keeps it. Redis says how many they are: so many messages
were put into lists, and so many were noted.
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
TRANSPORT = (
    "transport = dict(visibility_timeout=4, unacked_restore_interval=1, unacked_restore_throttle=1, "
    "unacked_mutex_expire=2)"
)
"""The lock of a worker that is killed while it looks for unacknowledged messages keeps the others from looking."""
COMMANDS = "lpush", "rpush", "hset"
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


def taken_along(stage: Stage) -> int:
    """Return how many messages Redis has given to workers that never noted them; those in its lists count, too."""
    if not isinstance(stage.redis, Redis):
        return 0
    client: Any = stage.redis.client
    calls = {name: client.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in COMMANDS}
    return int(calls["lpush"] + calls["rpush"] - calls["hset"])


def test_every_task_is_accounted_for(stage: Stage, tmp_path: Path):
    """However often a loaded worker is killed, each task ends or is lost once, in the journal and in the metrics.

    Counters outlive their workers in ``PROMETHEUS_MULTIPROC_DIR``, so that the next worker serves those of all.
    """
    journal, directory = tmp_path / "journal", tmp_path / "multiprocess"
    directory.mkdir()
    known = {"AFTERWORD_JOURNAL": str(journal), "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    known |= {"SHOP_SETTINGS": TRANSPORT} if isinstance(stage.redis, Redis) else {}
    before = taken_along(stage)
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
        if waiting(stage) or len(ends()) + taken_along(stage) - before < len(published):
            return False  # or a message is on its way to the worker
        numbers = stage.counted()
        return not numbers["held naps"] and not numbers["running naps"]

    wait_until(is_over, 120, report)
    records = list(history.ended(str(journal), history.Filter(attempts=True)))
    found = Counter(record.outcome for record in records)
    lost = [record.run for record in records if record.outcome == "lost"]
    told = [line["task_run"] for line in stage.lines() if line["event"] == "background_task.lost"]
    assert sorted(told) == sorted(lost)
    over = ends()
    again = {run: number for run, number in over.items() if number > 1}

    logs = "".join(path.read_text() for path in stage.folder.glob("w*.log"))
    unheard_of = [each for each in published if not over[each]]
    nowhere = taken_along(stage) - before
    numbers = stage.counted()
    print(f"{KILLS} kills, {len(published)} published, {dict(found)}, {nowhere} taken along, again: {again}")
    print(numbers)
    assert not again
    assert not [each for each in unheard_of if each in logs]  # no worker has received it
    assert len(unheard_of) == nowhere <= KILLS
    ran = {"ended naps succeeded": found["succeeded"], "returned naps worker_lost": found["returned"]}
    assert numbers == +Counter(
        {"scheduled naps": len(published), "started naps": sum(found.values()), "lost naps": len(lost), **ran}
    )
    assert found["succeeded"] + len(lost) + nowhere == len(published)
