"""What a unit test of the rules is: what promtool is given, when it looks, and which alerts it must find.

``promtool test rules`` evaluates the rules once a minute, over series that are written in its own notation
(``0+9x60``: from 0, 9 more in each of 60 minutes).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dashboards import names
from dashboards.names import CELERY, ENGINE, OUTCOME, QUEUE, REASON, STARLETTE, STATE, TASK, Outcome, Reason
from dashboards.prometheus.server import OPTIONAL_RULES, RULES
from dashboards.promql import equals
from dashboards.promql import series as select

from .prometheus_texts import Fired, expected

USUAL = {
    Outcome.SKIPPED: Reason.EARLIER_TASK_FAILED,
    Outcome.DROPPED: Reason.REQUEST_FAILED,
    Outcome.ABANDONED: Reason.NEVER_ATTACHED,
}
"""Why something never ran, by its outcome."""
MAIL, AUDIT = "app.tasks.send_mail", "app.tasks.audit"


def series(metric: str, *, job: str = "shop", instance: str = "a:80", **labels: str) -> str:
    """Return a series of a process."""
    given = {"job": job, "instance": instance, **labels}
    return select(metric, *(equals(label, value) for label, value in given.items()))


def of_task(metric: str, task: str = MAIL, engine: str = STARLETTE, **labels: str) -> str:
    """Return a series of a task."""
    return series(metric, **{TASK: task, ENGINE: engine}, **labels)


def ended(outcome: Outcome, task: str = MAIL, engine: str = STARLETTE, **labels: str) -> str:
    """Return how many runs came to an outcome."""
    return of_task(names.ENDED, task, engine, **{OUTCOME: outcome}, **labels)


def never_ran(outcome: Outcome, task: str = MAIL, engine: str = STARLETTE, **labels: str) -> str:
    """Return how many runs never ran, for the usual reason and on the usual route unless told otherwise."""
    known = {OUTCOME: outcome, REASON: USUAL[outcome], names.ROUTE: "/orders"}
    return of_task(names.NEVER_RAN_WHY, task, engine, **known, **labels)


def waited(bound: str, engine: str = STARLETTE) -> str:
    """Return how many runs waited so many seconds at most."""
    return of_task(f"{names.WAIT}_bucket", engine=engine, le=bound)


def took(bound: str, task: str = MAIL) -> str:
    """Return how many runs took so many seconds at most."""
    return of_task(f"{names.DURATION}_bucket", task, **{OUTCOME: Outcome.SUCCEEDED}, le=bound)


def oldest(state: str, engine: str = STARLETTE) -> str:
    """Return the age of the oldest run in a state."""
    return series(names.OLDEST, **{STATE: state, ENGINE: engine})


def running_age(task: str = MAIL, engine: str = STARLETTE) -> str:
    """Return the age of the oldest run of a task."""
    return of_task(names.RUNNING_AGE, task, engine)


def blocked_by(task: str) -> str:
    """Return for how long a task has held the event loop up; none of them, if it is empty."""
    return series(names.LOOP_BLOCKED, **{names.TASK: task})


def returned(reason: Reason, task: str = MAIL) -> str:
    """Return how many attempts of Celery's task did not end it."""
    return of_task(names.RETURNED, task, CELERY, **{REASON: reason})


def queue(metric: str, name: str = "statements", system: str = "redis", **labels: str) -> str:
    """Return a series of a queue, as one that publishes sees it."""
    return series(metric, **dict(zip(QUEUE, (system, name), strict=True)), **labels)


INFO = series(names.INFO, **{names.VERSION: "1"})
OBSERVER_ERRORS = series(names.OBSERVER_ERRORS, **{names.OBSERVER: "Board"})

Moments = dict[int, list[Fired]]
"""What has fired at which minute; an empty list means that nothing has."""


class Case(NamedTuple):
    """One unit test: series with their values, by alert what has fired when, and by expression its values."""

    name: str
    series: dict[str, str]
    expected: Mapping[str, Moments] = MappingProxyType({})
    recorded: Mapping[str, dict[int, dict[str, float]]] = MappingProxyType({})
    """For an expression of what is recorded, at which minute it has which series, with which values."""
    step: int = 1
    """Minutes between two values of a series, and two evaluations; more for what takes days."""


def fired(value: str = "", **fields: str) -> Fired:
    """Return an alert that fired, for the usual task and process unless told otherwise."""
    usual = {"task": MAIL, "engine": STARLETTE, "instance": "a:80", "observer": "Board"}
    reason = USUAL[Outcome(fields["outcome"])] if "outcome" in fields else ""
    why = {"reason": reason, "route": "/orders", "status": "", "culprit": ""}
    why["holder"] = f", mostly by {fields['culprit']}" if "culprit" in fields else ""
    why["most"] = f" What runs most there is {fields['front']} at a time." if "front" in fields else ""
    why["behind"] = f" of {fields['culprit']}" if "culprit" in fields else ""
    return {"value": value, "hourly": value, **usual, **why, "queue": "statements", "system": "redis", **fields}


def quiet(*minutes: int) -> Moments:
    """Return moments at which nothing has fired."""
    return {minute: [] for minute in minutes}


def documents(cases: tuple[Case, ...]) -> list[dict[str, Any]]:
    """Return what promtool reads: a file for each step."""
    steps = sorted({case.step for case in cases})
    return [_document(tuple(case for case in cases if case.step == step), step) for step in steps]


def _document(cases: tuple[Case, ...], step: int) -> dict[str, Any]:
    groups = (
        ("recording", "alerts", "optional") if step == 1 else ("optional",)
    )  # of days, all would take too long
    return {
        "rule_files": [str(path) for path in (*(RULES if step == 1 else ()), *OPTIONAL_RULES)],
        "evaluation_interval": f"{step}m",
        "group_eval_order": [f"afterword-{name}" for name in groups],
        "tests": [_test(case) for case in cases],
    }


def _test(case: Case) -> dict[str, Any]:
    given = {INFO: "1x120", **case.series}
    return {
        "name": case.name,
        "interval": f"{case.step}m",
        "input_series": [{"series": one, "values": values} for one, values in given.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [expected(alert, one) for one in found]}
            for alert, moments in case.expected.items()
            for minute, found in moments.items()
        ],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
            }
            for expression, moments in case.recorded.items()
            for minute, samples in moments.items()
        ],
    }
