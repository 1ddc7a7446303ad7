"""What becomes of tasks: each alert in a firing and a quiet case."""

from dashboards import names
from dashboards.names import LOST, Outcome

from .prometheus_cases import (
    AUDIT,
    INFO,
    MAIL,
    OBSERVER_ERRORS,
    Case,
    ended,
    fired,
    never_ran,
    of_task,
    quiet,
    series,
)

CASES = (
    Case(
        "never ran, firing: the first event of a new name, for five minutes",
        {
            never_ran(Outcome.DROPPED): "_x9 1x110",
            ended(Outcome.SUCCEEDED): "_x9 0x110",
        },
        {
            "AfterwordTaskNeverRan": {
                8: [],
                9: [fired("1", outcome=Outcome.DROPPED)],
                13: [fired("1", outcome=Outcome.DROPPED)],
                15: [],
            },
        },
    ),
    Case(
        "never ran and lost, firing: each outcome without a run, and a dead process's",
        {
            never_ran(Outcome.SKIPPED): "0x9 1x110",
            never_ran(Outcome.DROPPED): "0x9 2x110",
            never_ran(Outcome.ABANDONED): "0x9 3x110",
            of_task(LOST): "_x9 4x110",
            ended(Outcome.SUCCEEDED): "0+9x120",
        },
        {
            "AfterwordTaskNeverRan": {
                10: [
                    fired("1", outcome=Outcome.SKIPPED),
                    fired("2", outcome=Outcome.DROPPED),
                    fired("3", outcome=Outcome.ABANDONED),
                ],
                16: [],
            },
            "AfterwordTaskLost": {
                10: [fired("4")],
                16: [],
            },
        },
    ),
    Case(
        "never ran, firing: the first scrape of a new process",
        {
            series(names.ACCOUNT_START): "0x120",
            never_ran(Outcome.ABANDONED): "1x120",
        },
        {
            "AfterwordTaskNeverRan": {
                0: [fired("1", outcome=Outcome.ABANDONED)],
                6: [],
            },
        },
    ),
    Case(
        "never ran, firing: what a client's error dropped has an alert of its own, and the hour has more",
        {
            never_ran(Outcome.DROPPED, **{names.STATUS: "422"}): "_x9 0+3x110",
            never_ran(Outcome.DROPPED, **{names.STATUS: "500"}): "_x9 1x110",
        },
        {
            "AfterwordTaskNeverRan": {9: [fired("1", outcome=Outcome.DROPPED, status="500")], 40: []},
            "AfterwordTaskDroppedByClientError": {
                9: [],
                11: [fired("6", outcome=Outcome.DROPPED, status="422")],
                100: [fired("15", hourly="180", outcome=Outcome.DROPPED, status="422")],
            },
        },
    ),
    Case(
        "never ran, firing and quiet: skipped behind a task that has no alert of its own, and behind one that has",
        {
            ended(Outcome.FAILED): "0+4x60",
            ended(Outcome.SUCCEEDED): "0+6x60",
            never_ran(Outcome.SKIPPED, AUDIT, **{names.STOPPED_BY: MAIL}): "0+4x60",
            never_ran(Outcome.SKIPPED, **{names.STOPPED_BY: AUDIT}): "0+2x60",
        },
        {
            "AfterwordTaskFailureRatioHigh": {20: [fired("40%", hourly="80")]},
            "AfterwordTaskNeverRan": {20: [fired("10", hourly="40", outcome=Outcome.SKIPPED, culprit=AUDIT)]},
        },
    ),
    Case(
        "never ran, firing: after a restart",
        {
            never_ran(Outcome.DROPPED): "7x10 0 1x100",
        },
        {
            "AfterwordTaskNeverRan": {
                12: [fired("1", outcome=Outcome.DROPPED)],
                20: [],
            },
        },
    ),
    Case(
        "lost, firing: in a crash, after which there was nothing to scrape for a while",
        {
            INFO: "1x10 stale _x20 1x80",
            of_task(LOST): "_x10 _ _x20 3x80",
        },
        {
            "AfterwordTaskLost": {
                32: [fired("3")],
                40: [],
            },
        },
    ),
    Case(
        "lost, firing: of several workers, whose numbers outlive them, after a gap",
        {
            INFO: "1x10 stale _x20 1x80",
            of_task(LOST): "2x10 stale _x20 5x80",
        },
        {
            "AfterwordTaskLost": {
                32: [fired("3")],
                40: [],
            },
        },
    ),
    Case(
        "never ran and lost, quiet: everything ran",
        {
            never_ran(Outcome.SKIPPED): "0x120",
            never_ran(Outcome.DROPPED): "0x120",
            never_ran(Outcome.ABANDONED): "0x120",
            ended(Outcome.SUCCEEDED): "0+9x120",
            ended(Outcome.FAILED): "0+1x120",
            of_task(LOST): "0x120",
        },
        {
            "AfterwordTaskNeverRan": quiet(1, 30),
            "AfterwordTaskLost": quiet(1, 30),
        },
    ),
    Case(
        "never ran and lost, quiet: old counts, after a gap in the scrapes",
        {
            INFO: "1x10 stale _x20 1x80",
            never_ran(Outcome.DROPPED): "7x10 stale _x20 7x80",
            of_task(LOST): "2x10 stale _x20 2x80",
            OBSERVER_ERRORS: "7x10 stale _x20 7x80",
        },
        {
            "AfterwordTaskNeverRan": quiet(32, 33, 38),
            "AfterwordTaskLost": quiet(32, 33, 38),
            "AfterwordObserverErrors": quiet(33),
        },
    ),
    Case(
        "never ran and lost, quiet: old counts of workers, the last of which is new, in an empty Prometheus",
        {
            series(names.ACCOUNT_START): "-86400x120",
            series(names.PROCESS_START): "-30x120",
            never_ran(Outcome.DROPPED): "7x120",
            of_task(LOST): "7x120",
            OBSERVER_ERRORS: "7x120",
        },
        {
            "AfterwordTaskNeverRan": quiet(0, 3, 10),
            "AfterwordTaskLost": quiet(0, 3, 10),
            "AfterwordObserverErrors": quiet(3),
        },
    ),
    Case(
        "failure ratio, firing: one in ten, and quiet soon after the last",
        {
            ended(Outcome.FAILED): "0+1x30 30x90",
            ended(Outcome.SUCCEEDED): "0+9x30 270+10x90",
        },
        {
            "AfterwordTaskFailureRatioHigh": {
                2: [],
                15: [fired("10%", hourly="15")],
                37: [],
            },
        },
    ),
    Case(
        "failure ratio, quiet: a single failure",
        {
            ended(Outcome.FAILED): "0x20 1x100",
            ended(Outcome.SUCCEEDED): "0+9x120",
        },
        {
            "AfterwordTaskFailureRatioHigh": quiet(21, 23, 26, 40),
        },
    ),
    Case(
        "failure ratio, quiet: too few runs",
        {
            ended(Outcome.FAILED): "0+1x120",
            ended(Outcome.SUCCEEDED): "0+1x120",
        },
        {
            "AfterwordTaskFailureRatioHigh": quiet(15, 60),
        },
    ),
    Case(
        "failure ratio, quiet: three in a hundred, all the time",
        {
            ended(Outcome.FAILED): "0+3x60",
            ended(Outcome.SUCCEEDED): "0+97x60",
        },
        {
            "AfterwordTaskFailureRatioHigh": quiet(15, 60),
        },
    ),
    Case(
        "stopped succeeding, firing: an hour without a success, though it was tried",
        {
            ended(Outcome.SUCCEEDED): "0+1x30 30x200",
            ended(Outcome.FAILED): "0x30 0+1x200",
        },
        {
            "AfterwordTaskStoppedSucceeding": {
                45: [],
                90: [],
                100: [fired("60")],
            },
        },
    ),
    Case(
        "stopped succeeding, firing: a new name that never succeeded",
        {
            ended(Outcome.SUCCEEDED): "_x5 0x120",
            ended(Outcome.DROPPED): "_x5 3x120",
        },
        {
            "AfterwordTaskStoppedSucceeding": {
                9: [],
                11: [fired("3")],
            },
        },
    ),
    Case(
        "stopped succeeding, quiet: one success within the hour",
        {
            ended(Outcome.SUCCEEDED): "0x50 1x200",
            ended(Outcome.FAILED): "0+1x200",
        },
        {
            "AfterwordTaskStoppedSucceeding": quiet(100),
        },
    ),
    Case(
        "stopped succeeding, quiet: a task that a failing one in front of it holds back",
        {
            ended(Outcome.SUCCEEDED): "1x200",
            ended(Outcome.SKIPPED): "0+1x200",
        },
        {
            "AfterwordTaskStoppedSucceeding": quiet(100),
        },
    ),
    Case(
        "stopped succeeding, quiet: it is not scheduled any more",
        {
            ended(Outcome.SUCCEEDED): "5x200",
            ended(Outcome.FAILED): "1x200",
        },
        {
            "AfterwordTaskStoppedSucceeding": quiet(100),
        },
    ),
    Case(
        "cancelled, firing: a deploy",
        {
            ended(Outcome.CANCELLED): "0x9 2x100",
            ended(Outcome.SUCCEEDED): "0+9x120",
        },
        {
            "AfterwordTaskCancelled": {
                10: [fired("2")],
                16: [],
            },
        },
    ),
    Case(
        "cancelled, quiet: a deploy that cut nothing off",
        {
            INFO: "1x9 stale 1x100",
            ended(Outcome.CANCELLED): "0x9 stale 0x100",
            ended(Outcome.SUCCEEDED): "0+9x9 stale 0+9x100",
        },
        {
            "AfterwordTaskCancelled": quiet(11, 13),
        },
    ),
)
