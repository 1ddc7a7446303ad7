"""What a worker exports by OTLP, decoded with the official protobufs: its children's spans, and one account."""

from __future__ import annotations

import signal
from collections import Counter

from tests.celery.stage import Stage
from tests.otlp.received import NAME, OUTCOME
from tests.otlp.receiver import receiving
from tests.support.waiting import wait_until

CONSUMER = 5
WORKS = frozenset({("background_task_name", "shop.works"), ("background_task_engine", "celery")})


def test_a_worker_exports_one_account(stage: Stage):
    """Children that come and go export their spans, and the main process the numbers of all; none goes back."""
    with receiving("http/protobuf") as receiver:
        environment = receiver.environment | {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
        # one child at a time: of two that end at once, Celery itself may lose a message that it has just given one
        worker = stage.worker("prefork", "-c1", "--max-tasks-per-child=2", **environment)
        for _ in range(3):
            stage.publish("works")
            stage.publish("publishes")
        stage.publish("retries", 1)
        stage.settles(
            *("6 scheduled works", "6 started works", "6 ended works succeeded"),
            *("3 scheduled publishes", "3 started publishes", "3 ended publishes succeeded"),
            *("scheduled retries", "2 started retries", "returned retries retry", "ended retries succeeded"),
        )
        ended = "background_task_ended_total", WORKS | {("background_task_outcome", "succeeded")}
        wait_until(lambda: receiver.numbers().get(ended) == 6)
        worker.signal(signal.SIGTERM)
        worker.wait()
        consumed = [span.attributes for span in receiver.runs() if span.raw.kind == CONSUMER]
        found = Counter((attributes[NAME], attributes.get(OUTCOME)) for attributes in consumed)
        assert found == {
            ("shop.works", "succeeded"): 6,
            ("shop.publishes", "succeeded"): 3,
            ("shop.retries", None): 1,
            ("shop.retries", "succeeded"): 1,
        }
        numbers = receiver.numbers()
        assert numbers[ended] == numbers["background_task_started_total", WORKS] == 6
        assert numbers["background_task_scheduled_total", WORKS] == 3  # the others by this process
        assert numbers["background_task_held_seconds_count", WORKS] == 6
        assert numbers["background_task_wait_seconds_count", WORKS] == 6
        published = frozenset({("messaging_destination_name", "shop"), ("background_task_engine", "celery")})
        assert numbers["background_task_publish_duration_seconds_count", published] == 4
        counts = [
            point.count
            for _, scope, metric in receiver._metrics()
            if scope == "afterword" and metric.name == "background_task.held"
            for point in metric.histogram.data_points
            if any(each.key == NAME and each.value.string_value == "shop.works" for each in point.attributes)
        ]
        assert counts == sorted(counts)
