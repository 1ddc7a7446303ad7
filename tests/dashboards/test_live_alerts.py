"""Each alert is fired by a real situation in a real shop, and none by healthy traffic."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboards.prometheus.server import Prometheus
from tests.support.threads import repeating
from tests.support.waiting import wait_until

from .live_bureau import CELERY_WARNS
from .live_stage import stage
from .prometheus_rules import alerts

pytestmark = [pytest.mark.timeout(400), *CELERY_WARNS]

_PATIENCE = 130.0
TASKS = "examples.shop.tasks."
SITUATIONS = {
    ("careless", "AfterwordTaskNeverRan"): "one request fails, and one makes its tasks by hand",
    ("careless", "AfterwordTaskDroppedByClientError"): "a refund is asked for an order that there is not",
    ("mail-down", "AfterwordTaskFailureRatioHigh"): "the mail server goes down",
    ("mail-down", "AfterwordTaskStoppedSucceeding"): "the mail server stays down",
    ("mail-down", "AfterwordTaskNeverRan"): "the tasks behind a mail are skipped",
    ("mail-ill", "AfterwordTaskWaitHigh"): "the mail server is slow, so that what comes after a mail is late",
    ("mail-ill", "AfterwordBacklogGrowing"): "the mail server holds some connections for ever",
    ("mail-ill", "AfterwordTaskStuck"): "the mail server holds some connections for ever",
    ("starved", "AfterwordWorkerThreadsExhausted"): "another program holds the database",
    ("blocked", "AfterwordEventLoopBlocked"): "an async task does not await what it computes",
    ("neglected", "AfterwordTooManyTaskNames"): "there are more tasks than the process may name",
    ("neglected", "AfterwordObserverErrors"): "an observer of the user's raises",
    ("neglected", "AfterwordMetricsMissing"): "an instance of the job serves metrics, but not ours",
    ("gone", "AfterwordNoAnswer"): "a process is killed, and nobody starts it again",
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
    ("workers", "AfterwordTaskNeverRan"),
    ("filtered", "AfterwordMetricsMissing"),
    ("starved", "AfterwordTaskWaitHigh"),
    ("starved", "AfterwordBacklogGrowing"),
    ("workers", "AfterwordTaskStuck"),
    ("workers", "AfterwordTaskStoppedSucceeding"),
    ("workers", "AfterwordBacklogGrowing"),
    *((job, "AfterwordNoAnswer") for job in ("workers", "celery", "blocked", "starved")),
}
"""What may come with a situation, though it is not what the situation is for."""


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

    def _note(self, alert: dict[str, Any], elapsed: float) -> None:
        key = alert["labels"]["job"], alert["labels"]["alertname"]
        self.seconds.setdefault(key, round(elapsed))
        known = self.fired.setdefault(key, [])
        if alert["labels"] not in [one["labels"] for one in known]:
            known.append(alert)


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """Watch the shops until every situation has fired its alert, or for as long as we have patience."""
    watch = Watch()
    with stage(tmp_path_factory.mktemp("stage"), watch.over), suppress(AssertionError):
        wait_until(lambda: SITUATIONS.keys() <= watch.fired.keys(), _PATIENCE)
    return watch


def test_every_alert_has_a_situation():
    """No alert is left out."""
    assert {alert for _, alert in SITUATIONS} == set(alerts())


@pytest.mark.parametrize(("job", "alert"), SITUATIONS, ids=str)
def test_a_real_situation_fires_the_alert(watch: Watch, job: str, alert: str):
    """The situation fires the alert."""
    assert (job, alert) in watch.fired, f"{SITUATIONS[job, alert]}; what fired: {watch.seconds}"


def test_healthy_traffic_fires_nothing(watch: Watch):
    """Alerts stay quiet where all tasks succeed."""
    assert [alert for job, alert in watch.fired if job == "healthy"] == []


def test_nothing_fires_that_has_no_reason(watch: Watch):
    """Every alert that fired is about its situation, or follows from it."""
    reasonless = watch.fired.keys() - SITUATIONS.keys() - CONSEQUENCES
    assert {key: watch.fired[key] for key in reasonless} == {}


def test_the_very_first_event_fires_with_its_count(watch: Watch):
    """A name that appears with its first run that never ran at 1 fires, by name, reason, route and status."""
    fired = watch.fired["careless", "AfterwordTaskNeverRan"]
    assert {_why(alert) for alert in fired} == {
        (f"{TASKS}write_audit_row", "dropped", "request_failed", "/orders/{number}/refund", "500", "1e+00"),
        (f"{TASKS}notify_warehouse", "abandoned", "never_attached", "/orders/{number}/return", "", "1e+00"),
    }
    fired = watch.fired["careless", "AfterwordTaskDroppedByClientError"]
    assert {_why(alert) for alert in fired} == {
        (f"{TASKS}write_audit_row", "dropped", "request_failed", "/orders/{number}/refund", "404", "1e+00"),
    }


def _why(alert: dict[str, Any]) -> tuple[str, ...]:
    labels = ("name", "outcome", "reason")
    why = [alert["labels"][f"background_task_{label}"] for label in labels]
    where = [alert["labels"].get(label, "") for label in ("http_route", "http_response_status_code")]
    return (*why, *where, alert["value"])


def test_what_a_killed_worker_held_is_lost(watch: Watch):
    """The runs of a killed worker fire as lost, by name, and not as tasks that never ran."""
    fired = watch.fired["workers", "AfterwordTaskLost"]
    assert {alert["labels"]["background_task_outcome"] for alert in fired} == {"lost"}
    given_up = watch.fired.get(("workers", "AfterwordTaskNeverRan"), [])
    assert "lost" not in {alert["labels"]["background_task_outcome"] for alert in given_up}


def test_links_lead_to_the_dashboard_of_what_fired(watch: Watch):
    """The link of an alert has the alert's own labels filled in."""
    for fired in watch.fired.values():
        for alert in fired:
            link = urlsplit(alert["annotations"]["dashboard_url"])
            labels, values = alert["labels"], parse_qs(link.query)
            wanted = {"var-job": [labels["job"]]}
            if link.path == "/d/afterword-task":
                wanted["var-task"] = [labels.get("background_task_name", "other")]
            if "instance" in labels:
                wanted["var-instance"] = [labels["instance"]]
            assert values == wanted


def test_what_celery_is_in_trouble_with_is_named(watch: Watch):
    """An alert of Celery's names its engine and task, or its queue and broker."""
    for (job, alert), fired in watch.fired.items():
        labels = [one["labels"] for one in fired]
        if (job, alert) == ("celery", "AfterwordQueueNotConsumed"):
            assert ("redis", "nobody") in {
                (one["messaging_system"], one["messaging_destination_name"]) for one in labels
            }
        elif job == "celery" and alert not in ("AfterwordQueueGrowing", "AfterwordNoAnswer"):
            assert {one["background_task_engine"] for one in labels} == {"celery"}, alert
