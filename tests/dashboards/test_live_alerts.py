"""Each alert is fired by a real situation in a real shop, and none by healthy traffic."""

from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.waiting import wait_until

from .live_acts import ACTS
from .live_bureau import CELERY_WARNS
from .live_scene import playing
from .live_situations import CONSEQUENCES, PATIENCE, SITUATIONS, Watch
from .prometheus_rules import alerts

pytestmark = [pytest.mark.timeout(900), *CELERY_WARNS]

TASKS = "examples.shop.tasks."


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """Watch each act until every situation has fired its alert, or for as long as we have patience."""
    watch = Watch()
    for act in ACTS:
        with playing(tmp_path_factory.mktemp(act.__name__), act, watch.over) as scene, suppress(AssertionError):
            wait_until(lambda targets=scene.targets: watch.has_seen(SITUATIONS, targets), PATIENCE)
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
