"""The numbers themselves: each alert in a firing and a quiet case."""

from dashboards import names
from dashboards.names import LOST, PENDING, RUNNING, SCHEDULED, Outcome

from .prometheus_cases import AUDIT, INFO, OBSERVER_ERRORS, Case, ended, fired, of_task, quiet, series

CASES = (
    Case(
        "balance, firing: runs that nobody accounts for, and too many ends",
        {
            of_task(SCHEDULED): "0x5 5x60",
            of_task(PENDING): "0x60",
            of_task(RUNNING): "0x5 2x60",
            ended(Outcome.SUCCEEDED): "0x60",
            of_task(SCHEDULED, AUDIT): "0x60",
            of_task(PENDING, AUDIT): "0x60",
            of_task(RUNNING, AUDIT): "0x60",
            ended(Outcome.SUCCEEDED, AUDIT): "0x5 1x60",
        },
        {
            "AfterwordAccountOutOfBalance": {
                8: [],
                20: [
                    fired("3"),
                    fired("-1", task=AUDIT),
                ],
            },
        },
    ),
    Case(
        "balance, quiet: transitions, a restart, and what a dead process held",
        {
            of_task(SCHEDULED): "0+3x20 0+3x40",
            of_task(PENDING): "0 1x19 0 1x39",
            of_task(RUNNING): "0 1x19 0 0x39",
            ended(Outcome.SUCCEEDED): "0 1+3x19 0 0+3x39",
            ended(Outcome.FAILED): "0x20 0x40",
            of_task(LOST): "0x20 0 2x39",
            of_task(SCHEDULED, AUDIT): "5x60",
            of_task(PENDING, AUDIT): "0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1x2 0 1 0x30",
            of_task(RUNNING, AUDIT): "0x60",
            ended(Outcome.SUCCEEDED, AUDIT): "5x60",
        },
        {
            "AfterwordAccountOutOfBalance": quiet(1, 10, 15, 20, 21, 25, 30, 40),
        },
    ),
    Case(
        "balance, quiet: a difference of eight minutes, and one that changes its sign",
        {
            of_task(SCHEDULED): "5x9 6x60",
            of_task(PENDING): "0x17 1x60",
            of_task(RUNNING): "0x60",
            ended(Outcome.SUCCEEDED): "5x60",
            of_task(SCHEDULED, AUDIT): "5x60",
            of_task(PENDING, AUDIT): "0x3 2x3 0x3 2x3 0x3 2x3 0x3 2x30",
            of_task(RUNNING, AUDIT): "0x60",
            ended(Outcome.SUCCEEDED, AUDIT): "4x26 3x60",
        },
        {
            "AfterwordAccountOutOfBalance": quiet(8, 12, 14, 16, 17, 18, 20, 25),
        },
    ),
    Case(
        "too many names, firing: runs are counted as other",
        {
            of_task(SCHEDULED, names.OTHER): "_x5 4x60",
        },
        {
            "AfterwordTooManyTaskNames": {
                4: [],
                5: [fired("4")],
            },
        },
    ),
    Case(
        "too many names, quiet: all have a name of their own",
        {
            of_task(SCHEDULED): "0+5x60",
            of_task(SCHEDULED, names.OTHER): "0x60",
        },
        {
            "AfterwordTooManyTaskNames": quiet(5),
        },
    ),
    Case(
        "metrics missing, firing: one instance of two, and one that lost them",
        {
            series("up"): "1x60",
            INFO: "1x20 stale",
            series("up", instance="b:80"): "1x60",
            series(names.INFO, instance="c:80", version="1"): "1x60",
            series("up", instance="c:80"): "1x60",
        },
        {
            "AfterwordMetricsMissing": {
                5: [],
                12: [fired(instance="b:80")],
                35: [
                    fired(instance="b:80"),
                    fired(),
                ],
            },
        },
    ),
    Case(
        "metrics missing, quiet: all have them, one is down, and another job never had them",
        {
            series("up"): "1x60",
            series("up", instance="b:80"): "0x60",
            series("up", instance="a:9100", job="node"): "1x60",
        },
        {
            "AfterwordMetricsMissing": quiet(5, 30),
        },
    ),
    Case(
        "observer errors, firing: the very first",
        {
            OBSERVER_ERRORS: "_x9 1x50",
        },
        {
            "AfterwordObserverErrors": {
                8: [],
                9: [fired("1")],
                15: [],
            },
        },
    ),
    Case(
        "observer errors, quiet: none lately",
        {
            OBSERVER_ERRORS: "4x60",
        },
        {
            "AfterwordObserverErrors": quiet(20),
        },
    ),
)
