"""What waits, and what hangs: each alert in a firing and a quiet case."""

from dashboards import names
from dashboards.names import PENDING, RUNNING, Outcome

from .prometheus_cases import (
    AUDIT,
    MAIL,
    Case,
    blocked_by,
    ended,
    fired,
    of_task,
    oldest,
    quiet,
    running_age,
    series,
    took,
    waited,
)


def lag_of(bound: str) -> str:
    """Return how often the loop was late by so many seconds at most."""
    return series(f"{names.LOOP_LAG}_bucket", le=bound)


CASES = (
    Case(
        "wait, firing: one run in ten waits for 12 to 24 seconds",
        {
            waited("0.1"): "0+9x60",
            waited("12.0"): "0+9x60",
            waited("24.0"): "0+10x60",
            waited("+Inf"): "0+10x60",
            of_task(RUNNING): "0x60",
            of_task(RUNNING, AUDIT): "2x60",
        },
        {
            "AfterwordTaskWaitHigh": {
                8: [],
                20: [fired("18s", front=f"{AUDIT}, 2.0")],
            },
        },
    ),
    Case(
        "wait, quiet: one run in a hundred, and one bad minute",
        {
            waited("0.1"): "0+99x30 2970x3 2970+100x30",
            waited("12.0"): "0+99x30 2970x3 2970+100x30",
            waited("24.0"): "0+100x60",
            waited("+Inf"): "0+100x60",
        },
        {
            "AfterwordTaskWaitHigh": quiet(20, 36, 45),
        },
    ),
    Case(
        "slow, firing: ten minutes a day ago it took a second at most, now twenty",
        {
            ended(Outcome.SUCCEEDED): "0+10x90",
            took("1.0"): "0+10x40 400x50",
            took("12.0"): "0+10x40 400x50",
            took("24.0"): "0+10x90",
            took("+Inf"): "0+10x90",
        },
        {
            "AfterwordTaskSlowerThanUsual": {40: [], 44: [], 55: [fired("23.4s")]},
        },
    ),
    Case(
        "slow, quiet: always slow, slow but rare, and longer by little",
        {
            **{took(bound): "0x90" for bound in ("1.0", "12.0")},
            **{took(bound): "0+10x90" for bound in ("24.0", "+Inf")},
            ended(Outcome.SUCCEEDED): "0+10x90",
            ended(Outcome.SUCCEEDED, AUDIT): "0+0.5x90",
            took("1.0", AUDIT): "0+0.5x40 20x50",
            took("12.0", AUDIT): "0+0.5x40 20x50",
            **{took(bound, AUDIT): "0+0.5x90" for bound in ("24.0", "+Inf")},
            ended(Outcome.SUCCEEDED, "app.tasks.tidy"): "0+10x90",
            took("1.0", "app.tasks.tidy"): "0+10x40 400x50",
            **{took(bound, "app.tasks.tidy"): "0+10x90" for bound in ("8.0", "12.0", "24.0", "+Inf")},
        },
        {
            "AfterwordTaskSlowerThanUsual": quiet(20, 50, 55),
        },
    ),
    Case(
        "backlog, firing: a minute adds five",
        {
            of_task(PENDING): "0x5 0+5x60",
            of_task(RUNNING): "1x60",
            of_task(RUNNING, AUDIT): "0+0.5x60",
        },
        {
            "AfterwordBacklogGrowing": {
                12: [],
                30: [fired("95", front=f"{AUDIT}, 13.8")],
            },
        },
    ),
    Case(
        "backlog, quiet: large but steady, and small",
        {
            of_task(PENDING): "500+1x3 500-1x3 500+1x3 500-1x3 500+1x3 500-1x3 500x40",
            of_task(PENDING, AUDIT): "0+0.3x60",
        },
        {
            "AfterwordBacklogGrowing": quiet(20, 30, 50),
        },
    ),
    Case(
        "backlog, quiet: a burst",
        {
            of_task(PENDING): "0x5 0+10x8 80x60",
        },
        {
            "AfterwordBacklogGrowing": quiet(11, 13, 15, 17, 19, 25),
        },
    ),
    Case(
        "worker threads, firing: callers wait all the time",
        {
            series(names.THREADS_WAITING): "0x5 3x60",
            series(names.THREADS_BUSY): "9x5 40x60",
            series(names.THREADS_LIMIT): "40x60",
            of_task(RUNNING, AUDIT): "9x5 43x60",
        },
        {
            "AfterwordWorkerThreadsExhausted": {
                8: [],
                20: [fired("3", front=f"{AUDIT}, 43.0")],
            },
        },
    ),
    Case(
        "worker threads, quiet: all are busy and nobody waits for long",
        {
            series(names.THREADS_WAITING): "0x5 2 0x4 2 0x40",
            series(names.THREADS_BUSY): "40x60",
            series(names.THREADS_LIMIT): "40x60",
        },
        {
            "AfterwordWorkerThreadsExhausted": quiet(6, 12, 20),
        },
    ),
    Case(
        "event loop, firing: held up for more than a second each minute",
        {
            lag_of("+Inf"): "0+120x60",
            lag_of("1.0"): "0+119x60",
            lag_of("10.0"): "0+120x60",
            series(f"{names.LOOP_LAG}_count"): "0+120x60",
            blocked_by(""): "0+1x60",
            blocked_by(AUDIT): "0+9x10 90x60",
            blocked_by(MAIL): "0x12 0+2x60",
        },
        {
            "AfterwordEventLoopBlocked": {
                1: [],
                12: [fired("10", culprit=AUDIT)],
                40: [fired("10", culprit=MAIL)],
            },
        },
    ),
    Case(
        "event loop, firing: by what is no task",
        {
            lag_of("+Inf"): "0+120x60",
            lag_of("1.0"): "0+119x60",
            lag_of("10.0"): "0+120x60",
            series(f"{names.LOOP_LAG}_count"): "0+120x60",
            blocked_by(""): "_x5 2+2x60",
            blocked_by(MAIL): "0+1x60",
        },
        {
            "AfterwordEventLoopBlocked": {40: [fired("10")]},
        },
    ),
    Case(
        "event loop, firing: one long time, in a gap of the scrapes that it made itself",
        {
            lag_of("+Inf"): "0+120x10 _x2 1201+120x40",
            lag_of("1.0"): "0+120x10 _x2 1200+120x40",
            lag_of("10.0"): "0+120x10 _x2 1200+120x40",
            series(f"{names.LOOP_LAG}_count"): "0+120x10 _x2 1201+120x40",
            blocked_by(MAIL): "_x13 90x40",
        },
        {
            "AfterwordEventLoopBlocked": {
                10: [],
                14: [fired("1", culprit=MAIL)],
                30: [],
            },
        },
    ),
    Case(
        "event loop, quiet: a little late at times, two short times, and a restart",
        {
            lag_of("+Inf"): "0+120x20 0+120x40",
            lag_of("1.0"): "0+120x10 1198+120x9 0+120x40",
            lag_of("10.0"): "0+120x20 0+120x40",
            series(f"{names.LOOP_LAG}_count"): "0+120x20 0+120x40",
        },
        {
            "AfterwordEventLoopBlocked": quiet(5, 12, 19, 22, 25, 40),
        },
    ),
    Case(
        "event loop, quiet: two times of a young series, which increase() takes for more",
        {
            lag_of("+Inf"): "2000+120x60",
            lag_of("1.0"): "2000+120x2 2359+120x2 2718+120x50",
            lag_of("10.0"): "2000+120x60",
            series(f"{names.LOOP_LAG}_count"): "2000+120x60",
        },
        {
            "AfterwordEventLoopBlocked": quiet(6, 7, 8, 9, 12),
        },
    ),
    Case(
        "stuck, firing: running for longer than ten minutes, and what runs beside it does not",
        {
            running_age(): "0+60x60",
            running_age(AUDIT): "30x60",
        },
        {
            "AfterwordTaskStuck": {
                10: [],
                15: [fired("15m 0s")],
            },
        },
    ),
    Case(
        "stuck, quiet: a long one that ends, and one that waits",
        {
            running_age(): "0+60x9 0+60x9 0x20",
            oldest(names.STATE_RUNNING): "0+60x60",  # of another Afterword
            oldest(names.STATE_PENDING): "0+60x60",
        },
        {
            "AfterwordTaskStuck": quiet(9, 19, 30),
        },
    ),
)
