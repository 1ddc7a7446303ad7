"""Every alert at a restart and at a gap in the scrapes: its trouble goes on and fires it, or there is none."""

from collections.abc import Callable, Mapping

from dashboards import names
from dashboards.names import CELERY, LOST, PENDING, RUNNING, SCHEDULED, Outcome, Reason

from .prometheus_cases import (
    AUDIT,
    INFO,
    MAIL,
    OBSERVER_ERRORS,
    Case,
    Moments,
    blocked_by,
    ended,
    fired,
    never_ran,
    of_task,
    queue,
    quiet,
    returned,
    running_age,
    series,
    took,
    waited,
)
from .prometheus_cases_of_waits import lag_of
from .prometheus_texts import Fired

EVENT = 30
"""The minute in which the process restarts, or does not answer any more."""
BACK = 40
"""The minute in which a process that did not answer is scraped again; it has gone on meanwhile."""
TIDY, REPORT = "app.tasks.tidy", "app.tasks.report"

Values = Callable[[str], str]
"""Returns the values of a series for ``restart`` or for ``gap``."""


def grows(rate: int, start: int = 0) -> Values:
    """Return what grows by so much each minute, and begins anew with its process."""
    return {
        "restart": f"{start}+{rate}x{EVENT - 1} 0+{rate}x60",
        "gap": f"{start}+{rate}x{EVENT - 1} stale _x{BACK - EVENT - 1} {start + rate * BACK}+{rate}x50",
    }.__getitem__


def stands(before: int, after: int) -> Values:
    """Return what stands at a value, and at another one in the next process."""
    return {
        "restart": f"{before}x{EVENT - 1} {after}x60",
        "gap": f"{before}x{EVENT - 1} stale _x{BACK - EVENT - 1} {before}x50",
    }.__getitem__


def of_broker(rate: int) -> Values:
    """Return what grows by so much each minute, whoever tells it."""
    return {"restart": f"0+{rate}x90", "gap": grows(rate)("gap")}.__getitem__


def found() -> Values:
    """Return what is lost with the process, as the next one finds; after a gap, as another worker has found."""
    return {
        "restart": stands(0, 4)("restart"),
        "gap": f"0x{EVENT - 1} stale _x{BACK - EVENT - 1} 4x50",
    }.__getitem__


def became_slow(*, slow: bool) -> Values:
    """Return the runs of a task that has been slow since, in a bucket of those or in one of the quick ones."""
    rate = 10 if slow else 0
    return {
        "restart": f"0+10x{EVENT - 1} 0+{rate}x60",
        "gap": f"0+10x{EVENT - 1} stale _x{BACK - EVENT - 1} {10 * (BACK if slow else EVENT - 1)}+{rate}x50",
    }.__getitem__


def up(instance: str, restart: str) -> Mapping[str, Values]:
    """Return whether an instance answers."""
    gap = f"1x{EVENT - 1} 0x{BACK - EVENT - 1} 1x50"
    return {series("up", instance=instance): {"restart": restart, "gap": gap}.__getitem__}


BEGINS: Mapping[str, Values] = {
    INFO: {"restart": "1x90", "gap": stands(1, 1)("gap")}.__getitem__,
    series(names.PROCESS_START): stands(-3600, EVENT * 60),
    series(names.ACCOUNT_START): stands(-3600, EVENT * 60),
}
TROUBLE: Mapping[str, Values] = {
    **BEGINS,
    **up("a:80", f"1x{EVENT - 1} " + "0 1 " * 30),
    **up("b:80", "1x90"),
    series(names.INFO, instance="b:80", **{names.VERSION: "1"}): lambda _: f"1x{EVENT - 1} stale",
    never_ran(Outcome.DROPPED): grows(1),
    never_ran(Outcome.DROPPED, **{names.STATUS: "422"}): grows(1),
    ended(Outcome.CANCELLED): grows(1),
    ended(Outcome.FAILED): grows(2),
    ended(Outcome.SUCCEEDED): grows(6),
    ended(Outcome.DROPPED): grows(1),
    ended(Outcome.FAILED, AUDIT): grows(1),
    ended(Outcome.SUCCEEDED, AUDIT): stands(0, 0),
    of_task(LOST): found(),
    waited("0.1"): grows(9),
    waited("12.0"): grows(9),
    waited("24.0"): grows(10),
    waited("+Inf"): grows(10),
    **{took(bound, REPORT): became_slow(slow=False) for bound in ("1.0", "12.0")},
    **{took(bound, REPORT): became_slow(slow=True) for bound in ("24.0", "+Inf")},
    ended(Outcome.SUCCEEDED, REPORT): grows(10),
    of_task(PENDING): grows(5),
    series(names.THREADS_WAITING): stands(3, 3),
    lag_of("+Inf"): grows(120),
    lag_of("1.0"): grows(119),
    lag_of("10.0"): grows(120),
    series(f"{names.LOOP_LAG}_count"): grows(120),
    blocked_by(MAIL): grows(2),
    running_age(): grows(60),
    of_task(SCHEDULED, TIDY): stands(5, 5),
    of_task(PENDING, TIDY): stands(0, 0),
    of_task(RUNNING, TIDY): stands(2, 2),
    ended(Outcome.SUCCEEDED, TIDY): stands(0, 0),
    of_task(SCHEDULED, names.OTHER): grows(1),
    OBSERVER_ERRORS: grows(1),
    queue(names.QUEUE_MESSAGES): of_broker(5),
    queue(names.QUEUE_OLDEST): of_broker(60),
    queue(names.QUEUE_MESSAGES, "letters"): of_broker(5),
    queue(names.QUEUE_OLDEST, "letters"): stands(9, 9),
    returned(Reason.TAKEN_AWAY): grows(1),
    returned(Reason.WORKER_LOST): grows(1),
    ended(Outcome.ABANDONED, engine=CELERY): grows(1),
    ended(Outcome.SUCCEEDED, engine=CELERY): grows(1),
    of_task(LOST, engine=CELERY): found(),
}
OLD = 7
"""Counts of long ago."""
HEALTH: Mapping[str, Values] = {
    **BEGINS,
    series("up"): {"restart": f"1x{EVENT - 1} 0 1x60", "gap": stands(1, 1)("gap")}.__getitem__,
    **{ended(outcome): stands(OLD, 0) for outcome in (*names.NEVER_RAN, Outcome.CANCELLED, Outcome.FAILED)},
    ended(Outcome.SUCCEEDED): grows(9),
    **{never_ran(outcome): stands(OLD, 0) for outcome in names.NEVER_RAN},
    never_ran(Outcome.DROPPED, **{names.STATUS: "404"}): stands(OLD, 0),
    of_task(LOST): stands(OLD, 0),
    **{took(bound): grows(10) for bound in ("1.0", "12.0", "24.0", "+Inf")},
    waited("0.1"): grows(10),
    waited("12.0"): grows(10),
    waited("24.0"): grows(10),
    waited("+Inf"): grows(10),
    of_task(SCHEDULED): grows(9, 6 * OLD),
    of_task(PENDING): stands(0, 0),
    of_task(RUNNING): stands(0, 0),
    series(names.THREADS_WAITING): stands(0, 0),
    lag_of("+Inf"): grows(120),
    lag_of("1.0"): grows(120),
    lag_of("10.0"): grows(120),
    series(f"{names.LOOP_LAG}_count"): grows(120),
    running_age(): stands(30, 30),
    of_task(SCHEDULED, names.OTHER): stands(0, 0),
    OBSERVER_ERRORS: stands(OLD, 0),
    queue(names.QUEUE_MESSAGES): stands(5, 0),
    queue(names.QUEUE_OLDEST): stands(1, 0),
    returned(Reason.TAKEN_AWAY): stands(OLD, 0),
    returned(Reason.WORKER_LOST): stands(OLD, 0),
    ended(Outcome.ABANDONED, engine=CELERY): stands(OLD, 0),
    ended(Outcome.SUCCEEDED, engine=CELERY): grows(1),
    of_task(LOST, engine=CELERY): stands(OLD, 0),
}
QUIET = (31, 36, 41, 44, 55)


def _story(told: Mapping[str, Values], mode: str) -> dict[str, str]:
    return {name: values(mode) for name, values in told.items()}


HOURLY = {"restart": "54", "gap": "60"}
FRONT = f"{TIDY}, 2.0"


def after_both(mode: str) -> dict[str, Fired]:
    """Return what fires in both cases, with the numbers of an hour."""
    hourly = HOURLY[mode]
    return {
        "AfterwordTaskNeverRan": fired("5", hourly=hourly, outcome=Outcome.DROPPED),
        "AfterwordTaskDroppedByClientError": fired("5", hourly=hourly, outcome=Outcome.DROPPED, status="422"),
        "AfterwordTaskFailureRatioHigh": fired("20%", hourly=str(2 * int(hourly))),
        "AfterwordTaskCancelled": fired("5", hourly=hourly),
        "AfterwordTaskWaitHigh": fired("18s", front=FRONT),
        "AfterwordTaskSlowerThanUsual": fired("23.4s", task=REPORT),
        "AfterwordWorkerThreadsExhausted": fired("3", front=FRONT),
        "AfterwordEventLoopBlocked": fired("10", culprit=MAIL),
        "AfterwordAccountOutOfBalance": fired("3", task=TIDY),
        "AfterwordMetricsMissing": fired(instance="b:80"),
        "AfterwordObserverErrors": fired("5"),
        "AfterwordTaskRanTwice": fired("5", hourly=hourly, engine=CELERY),
        "AfterwordTaskUnregistered": fired("5", hourly=hourly, engine=CELERY),
        "AfterwordWorkerLost": fired("5", hourly=hourly, engine=CELERY),
    }


AFTER_RESTART: dict[str, Moments] = {
    **{alert: {55: [found]} for alert, found in after_both("restart").items()},
    "AfterwordTaskLost": {29: [], 33: [fired("4")], 55: []},
    "AfterwordQueuedTaskLost": {29: [], 33: [fired("4", engine=CELERY)], 55: []},
    "AfterwordTaskStoppedSucceeding": {55: [fired("25", task=AUDIT)]},
    "AfterwordBacklogGrowing": {55: [fired("100", front=FRONT)]},
    "AfterwordTaskStuck": {33: [], 55: [fired("25m 0s")]},
    "AfterwordTooManyTaskNames": {55: [fired("25")]},
    "AfterwordNoAnswer": {29: [], 33: [], 55: [fired("54.55%")]},
    "AfterwordQueueNotConsumed": {33: [fired("165")], 55: [fired("275")]},
    "AfterwordQueueGrowing": {33: [fired("140", queue="letters")], 55: [fired("250", queue="letters")]},
}
AFTER_GAP: dict[str, Moments] = {
    **{alert: {60: [found]} for alert, found in after_both("gap").items()},
    "AfterwordTaskLost": {29: [], 43: [fired("4")], 60: []},
    "AfterwordQueuedTaskLost": {29: [], 43: [fired("4", engine=CELERY)], 60: []},
    "AfterwordTaskStoppedSucceeding": {60: [fired("60", task=AUDIT)]},
    "AfterwordBacklogGrowing": {60: [fired("275", front=FRONT)]},
    "AfterwordTaskStuck": {35: [], 43: [fired("43m 0s")]},
    "AfterwordTooManyTaskNames": {60: [fired("60")]},
    "AfterwordNoAnswer": {
        29: [],
        31: [],
        35: [fired("45.45%"), fired("45.45%", instance="b:80")],
        60: [],
    },
    "AfterwordQueueNotConsumed": {35: [], 60: [fired("300")]},
    "AfterwordQueueGrowing": {35: [], 60: [fired("275", queue="letters")]},
}

CASES = (
    Case("every alert, firing: its trouble goes on after a restart", _story(TROUBLE, "restart"), AFTER_RESTART),
    Case("every alert, firing: its trouble goes on after a gap", _story(TROUBLE, "gap"), AFTER_GAP),
    Case(
        "every alert, quiet: a restart, with old counts before",
        _story(HEALTH, "restart"),
        {alert: quiet(*QUIET) for alert in AFTER_RESTART},
    ),
    Case(
        "every alert, quiet: a gap, since nobody scraped, with old counts before and after",
        _story(HEALTH, "gap"),
        {alert: quiet(*QUIET) for alert in AFTER_GAP},
    ),
    Case(
        "no answer, quiet: a minute, a target that never had our metrics, and one that fails and is scaled away",
        {
            **_story(up("node:9100", ""), "gap"),
            INFO: f"1x{EVENT - 1} stale 1x60",
            series("up"): f"1x{EVENT - 1} 0 1x60",
            series("up", instance="b:80"): f"1x{EVENT - 3} 0x1 stale",
            series(names.INFO, instance="b:80", **{names.VERSION: "1"}): f"1x{EVENT - 3} stale",
        },
        {"AfterwordNoAnswer": quiet(30, 31, 32, 35, 45)},
    ),
    Case(
        "no answer, quiet: an hour after the last answer",
        {
            INFO: f"1x{EVENT - 1} stale",
            series("up"): f"1x{EVENT - 1} 0x90",
        },
        {"AfterwordNoAnswer": {31: [], 60: [fired("0%")], 95: []}},
    ),
)
