"""What is played in the shops, which alert it must fire, and who looks on; for the tests and for the drills."""

import threading
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dashboards.prometheus.server import Prometheus
from tests.support.threads import repeating

PATIENCE = 130.0
"""Seconds in which every situation of an act has fired its alert, once its troubles are there."""
SITUATIONS = {
    ("careless", "AfterwordTaskNeverRan"): "one request fails, and one makes its tasks by hand",
    ("careless", "AfterwordTaskDroppedByClientError"): "a refund is asked for an order that there is not",
    ("mail-down", "AfterwordTaskFailureRatioHigh"): "the mail server goes down",
    ("mail-down", "AfterwordTaskStoppedSucceeding"): "the mail server stays down",
    ("mail-ill", "AfterwordTaskWaitHigh"): "the mail server is slow, so that what comes after a mail is late",
    ("mail-ill", "AfterwordBacklogGrowing"): "the mail server holds some connections for ever",
    ("mail-ill", "AfterwordTaskStuck"): "the mail server holds some connections for ever",
    ("starved", "AfterwordWorkerThreadsExhausted"): "another program holds the database",
    ("blocked", "AfterwordEventLoopBlocked"): "an async task does not await what it computes",
    ("neglected", "AfterwordTooManyTaskNames"): "there are more tasks than the process may name",
    ("neglected", "AfterwordObserverErrors"): "an observer of the user's raises",
    ("neglected", "AfterwordMetricsMissing"): "an instance of the job serves metrics, but not ours",
    ("gone", "AfterwordNoAnswer"): "a process is killed, and nobody starts it again",
    ("forgotten", "AfterwordTaskNotScheduled"): "a task is not scheduled any more, though its requests still come",
    ("forgotten", "AfterwordTaskSlowerThanUsual"): "a peer that a task calls has become slow",
    ("filtered", "AfterwordAccountOutOfBalance"): "somebody's relabelling drops a part of the series",
    ("workers", "AfterwordTaskCancelled"): "a deploy replaces the workers while mails are sent",
    ("workers", "AfterwordTaskLost"): "workers are killed with their tasks",
    ("celery", "AfterwordQueueNotConsumed"): "a task is published to a queue that no worker consumes",
    ("celery", "AfterwordQueueGrowing"): "more is published to a queue than its worker takes",
    ("celery", "AfterwordTaskRanTwice"): "two workers have the same task, which is acknowledged too late",
    ("celery", "AfterwordTaskUnregistered"): "a task is published that no worker has",
    ("celery", "AfterwordWorkerLost"): "a child of a worker is killed by its task",
    ("celery", "AfterwordQueuedTaskLost"): "a whole worker is killed with its task",
}
CONSEQUENCES = {
    ("mail-down", "AfterwordTaskNeverRan"),  # until the task that fails before it has its own alert
    ("workers", "AfterwordTaskNeverRan"),
    ("filtered", "AfterwordMetricsMissing"),
    ("starved", "AfterwordTaskWaitHigh"),
    ("starved", "AfterwordBacklogGrowing"),
    ("workers", "AfterwordTaskStuck"),
    ("workers", "AfterwordTaskStoppedSucceeding"),
    ("workers", "AfterwordBacklogGrowing"),
    ("forgotten", "AfterwordTaskStuck"),
    *((job, "AfterwordTaskSlowerThanUsual") for job in ("mail-ill", "starved", "workers", "celery")),
    *((job, "AfterwordNoAnswer") for job in ("workers", "celery", "blocked", "starved")),
}
"""What may come with a situation, though it is not what the situation is for."""
MORE = {
    ("refused", "AfterwordTaskDroppedByClientError"): "clients send what is not valid, in bursts",
    ("disk-full", "AfterwordTaskFailureRatioHigh"): "the disk is full",
    ("swallowed", "AfterwordTaskNeverRan"): "a handler answers an endpoint's error with 200",
    (
        "replaced",
        "AfterwordTaskNeverRan",
    ): "a response brings a background of its own, and the injected tasks go",
}
"""What is played besides when there is time for drills."""
QUIET = {
    "healthy": "healthy traffic",
    "scanned": "a scanner asks for what there is not",
}
"""The jobs in which nothing may fire; the second is played in drills only."""
CULPRITS = {
    ("careless", "AfterwordTaskNeverRan"): "write_audit_row",
    ("careless", "AfterwordTaskDroppedByClientError"): "write_audit_row",
    ("mail-down", "AfterwordTaskFailureRatioHigh"): "send_confirmation",
    ("mail-down", "AfterwordTaskStoppedSucceeding"): "send_confirmation",
    ("mail-ill", "AfterwordTaskWaitHigh"): "send_confirmation",
    ("mail-ill", "AfterwordBacklogGrowing"): "send_confirmation",
    ("mail-ill", "AfterwordTaskStuck"): "send_confirmation",
    ("blocked", "AfterwordEventLoopBlocked"): "make_thumbnail",
    ("neglected", "AfterwordObserverErrors"): "WallBoard",
    ("workers", "AfterwordTaskCancelled"): "send_confirmation",
    ("workers", "AfterwordTaskLost"): "send_confirmation",
    ("forgotten", "AfterwordTaskNotScheduled"): "send_reminder",
    ("forgotten", "AfterwordTaskSlowerThanUsual"): "write_report",
    ("celery", "AfterwordQueueNotConsumed"): "nobody",
    ("refused", "AfterwordTaskDroppedByClientError"): "record_attempt",
    ("disk-full", "AfterwordTaskFailureRatioHigh"): "write_invoice",
    ("swallowed", "AfterwordTaskNeverRan"): "send_reminder",
    ("replaced", "AfterwordTaskNeverRan"): "print_label",
}
"""Whose fault it is; where nothing is said, the alert has named it if it has named the job."""


class Watch:
    """Looks at Prometheus all the time and notes what fired, and how."""

    def __init__(self) -> None:
        self.fired: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.seconds: dict[tuple[str, str], float] = {}

    @contextmanager
    def over(self, prometheus: Prometheus) -> Iterator[None]:
        """Watch for as long as the context lasts."""
        start = time.monotonic()

        def look(over: threading.Event) -> None:
            for alert in prometheus.api("alerts")["alerts"]:
                if alert["state"] == "firing":
                    self._note(alert, time.monotonic() - start)
            over.wait(0.5)

        with repeating(look):
            yield

    def has_seen(self, expected: Iterable[tuple[str, str]], jobs: Container[str]) -> bool:
        """Tell whether all alerts have fired that are expected of these jobs."""
        return all(key in self.fired for key in expected if key[0] in jobs)

    def _note(self, alert: dict[str, Any], elapsed: float) -> None:
        key = alert["labels"]["job"], alert["labels"]["alertname"]
        self.seconds.setdefault(key, round(elapsed))
        known = self.fired.setdefault(key, [])
        if alert["labels"] not in [one["labels"] for one in known]:
            known.append(alert)
