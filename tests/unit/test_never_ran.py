"""What the metrics say of a task that never ran: its reason, its route, and the status that a dropped one got."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import BackgroundTasks, HTTPException

from afterword._common import cardinality, semconv
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.interpreter import run_fresh

NAME = f"{semconv.NEVER_RAN.prometheus}_total"
REFUSED = """
    from fastapi import BackgroundTasks, FastAPI, HTTPException
    from afterword import instrument
    from tests.support.asgi import ask

    app = FastAPI()
    instrument(app, traces=False, logs=False)

    @app.get("/orders/{number}")
    def order(number: int, tasks: BackgroundTasks) -> None:
        tasks.add_task(int)
        raise HTTPException(409)

    ask(app, "/orders/7")
    print(ask(app, "/metrics").text)
"""


def never_ran(stage: InProcessStage) -> dict[tuple[str, ...], float]:
    """Return what both kinds of metrics say: outcome, reason, route, status; they must say the same."""
    told = []
    for account in (stage.accounts.prometheus, stage.accounts.meter):
        labels = [*semconv.NEVER_RAN.labels[1:3], *semconv.NEVER_RAN.labels[4:6]]
        told.append(
            {
                tuple(str(given.get(label, "")) for label in labels): value
                for name, given, value in account.samples()
                if name.removesuffix("_total") == semconv.NEVER_RAN.prometheus
            }
        )
    assert told[0] == told[1]
    return told[0]


def test_a_dropped_task_has_its_route_and_status(stage: InProcessStage):
    """What a client's error dropped can be told from what an error of ours dropped, by route."""
    app, task = stage.app(), stage.works("mail")

    @app.get("/orders/{number}")
    async def order(number: int, tasks: BackgroundTasks) -> None:
        tasks.add_task(task)
        raise HTTPException(409) if number else RuntimeError

    for number in (1, 2, 0):
        ask(app, f"/orders/{number}")
    assert never_ran(stage) == {
        ("dropped", "request_failed", "/orders/{number}", "409"): 2,
        ("dropped", "request_failed", "/orders/{number}", "500"): 1,
    }


def test_a_skipped_task_has_its_reason_and_its_culprit_and_no_status(stage: InProcessStage):
    """What was skipped says which task failed before it; only a dropped task has a status."""
    ask(stage.app_with(stage.fails("mail"), stage.works("report")))
    assert never_ran(stage) == {("skipped", "earlier_task_failed", "/", ""): 1}
    labels = [given for name, given, _ in stage.accounts.prometheus.samples() if name == NAME]
    assert [given[semconv.NEVER_RAN.labels[3]] for given in labels] == ["shop.mail"]


def test_what_ran_is_not_counted(stage: InProcessStage):
    """Tasks that succeed or fail are in no series of those that never ran."""
    ask(stage.app_with(stage.works("report"), stage.fails("mail")))
    assert never_ran(stage) == {}


def test_routes_and_statuses_are_bounded(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """Routes beyond their bound, and statuses that HTTP does not know, are `other`."""
    monkeypatch.setattr(cardinality.ROUTES, "limit", 1)
    monkeypatch.setattr(cardinality.ROUTES, "_seen", {})
    app, task = stage.app(), stage.works("mail")

    async def refuse(tasks: BackgroundTasks) -> None:
        tasks.add_task(task)
        raise HTTPException(499, "closed")

    for path in ("/one", "/two", "/three"):
        app.get(path)(refuse)
    for path in ("/one", "/two", "/three"):
        ask(app, path)
    assert never_ran(stage) == {
        ("dropped", "request_failed", "/one", "other"): 1,
        ("dropped", "request_failed", "other", "other"): 2,
    }


@pytest.mark.slow
def test_several_workers_tell_it_too(tmp_path: Path):
    """With several workers, the series is the same."""
    told, _ = run_fresh(REFUSED, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    (series,) = (line for line in told.splitlines() if line.startswith(NAME))
    for label, value in (("http_route", "/orders/{number}"), ("http_response_status_code", "409")):
        assert f'{label}="{value}"' in series
    assert series.endswith(" 1.0")
