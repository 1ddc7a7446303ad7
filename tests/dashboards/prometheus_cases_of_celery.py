"""Celery: each of its alerts in a firing and a quiet case, and what its series must not fire."""

from dashboards import names
from dashboards.names import (
    CELERY,
    ERROR,
    LOST,
    PENDING,
    QUEUE_MESSAGES,
    QUEUE_OLDEST,
    RUNNING,
    SCHEDULED,
    STARTED,
    Outcome,
    Reason,
)

from .prometheus_cases import (
    AUDIT,
    INFO,
    Case,
    ended,
    fired,
    never_ran,
    of_task,
    oldest,
    queue,
    quiet,
    returned,
    running_age,
    series,
    waited,
)

_WORKER = {"job": "shop-worker", "instance": "w:9464"}
_WORKER_INFO = series(names.INFO, **_WORKER, **{names.VERSION: "1"})


def failed_by(error: str, task: str) -> str:
    """Return how many runs of Celery's failed with an error."""
    return of_task(names.FAILURES, task, CELERY, **{ERROR: error})


CASES = (
    Case(
        "queue not consumed, firing: what is in it stays, and more comes; and where no broker tells the age",
        {
            queue(QUEUE_MESSAGES): "0x4 1x10 2x20 3x40",
            queue(QUEUE_MESSAGES, instance="b:80"): "0x4 1x10 2x20 2x40",
            queue(QUEUE_OLDEST): "0x4 0+60x70",
            queue(QUEUE_MESSAGES, "reports", "rabbitmq"): "_x20 4x50",
        },
        {
            "AfterwordQueueNotConsumed": {
                13: [],
                16: [fired("2")],
                29: [fired("2")],
                32: [fired("2"), fired("4", queue="reports", system="rabbitmq")],
            },
        },
    ),
    Case(
        "queue not consumed, quiet: something leaves it, it is young, or it is empty",
        {
            queue(QUEUE_MESSAGES): "5x4 4x8 5x8 4x8 5x40",
            queue(QUEUE_OLDEST): "0+60x4 0+60x8 0+60x8 0+60x8 0+60x40",
            queue(QUEUE_MESSAGES, "mails"): "3x7",
            queue(QUEUE_OLDEST, "mails"): "0+60x7",
            queue(QUEUE_MESSAGES, "steady"): "7x60",
            queue(QUEUE_OLDEST, "steady"): "0+12x60",
            queue(QUEUE_MESSAGES, "busy", "rabbitmq"): " ".join(["5x3 4x3"] * 8),
            queue(QUEUE_MESSAGES, "rare", "rabbitmq"): "0x18 1x8 0x34",
            queue(QUEUE_MESSAGES, "idle"): "0x60",
            queue(QUEUE_OLDEST, "idle"): "0x60",
        },
        {
            "AfterwordQueueNotConsumed": quiet(1, 7, 12, 20, 29, 34),
        },
    ),
    Case(
        "queue growing, firing: five a minute more than its workers take",
        {
            queue(QUEUE_MESSAGES): "0x5 0+5x60",
            queue(QUEUE_OLDEST): "0x5 0+30x60",
        },
        {
            "AfterwordQueueGrowing": {
                12: [],
                30: [fired("95")],
            },
            "AfterwordQueueNotConsumed": quiet(12, 30),
        },
    ),
    Case(
        "queue growing, quiet: large but steady, small, a burst, and one that nobody consumes",
        {
            queue(QUEUE_MESSAGES): "500+1x3 500-1x3 500+1x3 500-1x3 500+1x3 500-1x3 500x40",
            queue(QUEUE_MESSAGES, "small"): "0+0.3x60",
            queue(QUEUE_MESSAGES, "burst"): "0x5 0+10x8 80-1x60",
            queue(QUEUE_MESSAGES, "nobody"): "0x5 0+5x60",
            queue(QUEUE_OLDEST, "nobody"): "0x5 0+60x60",
        },
        {
            "AfterwordQueueGrowing": quiet(11, 13, 17, 20, 30, 50),
        },
    ),
    Case(
        "ran twice, firing: an attempt ended whose message another worker had",
        {
            returned(Reason.TAKEN_AWAY): "0x9 2x50",
        },
        {
            "AfterwordTaskRanTwice": {
                9: [],
                10: [fired("2", engine=CELERY)],
                16: [],
            },
        },
    ),
    Case(
        "ran twice and worker lost, quiet: attempts that came back for other reasons",
        {
            returned(Reason.TAKEN_AWAY): "3x60",
            returned(Reason.WORKER_LOST): "2x60",
            returned(Reason.RETRY): "0+3x60",
            returned(Reason.REQUEUED): "0+1x60",
            returned(Reason.WORKER_SHUTDOWN): "0x9 4x50",
            failed_by("builtins.ValueError", AUDIT): "0+1x60",
            of_task(names.FAILURES, engine=names.STARLETTE, **{ERROR: "SystemExit"}): "0+1x60",
        },
        {
            "AfterwordTaskRanTwice": quiet(6, 10, 30),
            "AfterwordWorkerLost": quiet(6, 10, 30),
        },
    ),
    Case(
        "unregistered, firing: the first of a name; and it is no task that never ran",
        {
            ended(Outcome.ABANDONED, engine=CELERY): "_x9 1x50",
            never_ran(Outcome.ABANDONED, engine=CELERY): "_x9 1x50",
            ended(Outcome.DROPPED, engine=CELERY): "_x9 0x50",
        },
        {
            "AfterwordTaskUnregistered": {
                8: [],
                9: [fired("1", engine=CELERY)],
                15: [],
            },
            "AfterwordTaskNeverRan": quiet(9, 15),
        },
    ),
    Case(
        "unregistered, quiet: a task of Starlette's is abandoned, and one of Celery's was dropped",
        {
            never_ran(Outcome.ABANDONED): "0x9 1x50",
            never_ran(Outcome.DROPPED, engine=CELERY): "0x9 2x50",
            ended(Outcome.ABANDONED, engine=CELERY): "0x60",
        },
        {
            "AfterwordTaskUnregistered": quiet(10),
            "AfterwordTaskNeverRan": {
                10: [
                    fired("1", outcome=Outcome.ABANDONED),
                    fired("2", outcome=Outcome.DROPPED, engine=CELERY),
                ],
            },
        },
    ),
    Case(
        "worker lost, firing: a child that was killed, one that exited, and one whose task was put back",
        {
            failed_by("billiard.exceptions.WorkerLostError", AUDIT): "_x9 1x50",
            failed_by("SystemExit", AUDIT): "_x9 2x50",
            returned(Reason.WORKER_LOST): "0x9 1x50",
        },
        {
            "AfterwordWorkerLost": {
                8: [],
                10: [fired("3", task=AUDIT, engine=CELERY), fired("1", engine=CELERY)],
                16: [],
            },
        },
    ),
    Case(
        "lost with a worker, firing: the next one, at another address, found it",
        {
            series(names.ACCOUNT_START, instance="w:2"): "600x60",
            series(names.INFO, instance="w:2", **{names.VERSION: "1"}): "_x10 1x50",
            of_task(LOST, engine=CELERY, instance="w:1"): "0x9 stale",
            of_task(LOST, engine=CELERY, instance="w:2"): "_x10 2x50",
        },
        {
            "AfterwordQueuedTaskLost": {
                9: [],
                10: [fired("2", engine=CELERY)],
                16: [],
            },
            "AfterwordTaskLost": quiet(10, 16),
        },
    ),
    Case(
        "lost with a worker, firing: after a gap, at the address of a worker that was there before",
        {
            INFO: "1x10 stale _x20 1x80",
            series(names.ACCOUNT_START): "0x10 stale _x20 1900x80",
            of_task(LOST, engine=CELERY): "2x10 stale _x20 2x80",
            of_task(LOST, AUDIT, CELERY): "0x10 stale _x20 3x80",
        },
        {
            "AfterwordQueuedTaskLost": {
                9: [],
                33: [fired("2", engine=CELERY), fired("3", task=AUDIT, engine=CELERY)],
                39: [],
            },
        },
    ),
    Case(
        "lost with a worker, quiet: what a process lost that runs its own tasks",
        {
            of_task(LOST): "0x9 2x50",
            of_task(LOST, engine=CELERY): "0x60",
        },
        {
            "AfterwordQueuedTaskLost": quiet(1, 10, 16),
            "AfterwordTaskLost": {10: [fired("2")]},
        },
    ),
    Case(
        "healthy, quiet: a task is published here and runs there, waits in its queue, and takes half an hour",
        {
            _WORKER_INFO: "1x120",
            of_task(SCHEDULED, engine=CELERY): "0+3x120",
            of_task(PENDING, engine=CELERY): "0x120",
            of_task(RUNNING, engine=CELERY): "0x120",
            ended(Outcome.SUCCEEDED, engine=CELERY): "0x120",
            ended(Outcome.DROPPED, engine=CELERY): "0x120",
            of_task(LOST, engine=CELERY): "0x120",
            of_task(SCHEDULED, engine=CELERY, **_WORKER): "0x120",
            of_task(STARTED, engine=CELERY, **_WORKER): "0+3x120",
            of_task(PENDING, engine=CELERY, **_WORKER): "0+1x120",
            of_task(RUNNING, engine=CELERY, **_WORKER): "2x120",
            ended(Outcome.SUCCEEDED, engine=CELERY, **_WORKER): "0+3x120",
            ended(Outcome.FAILED, engine=CELERY, **_WORKER): "0x120",
            of_task(LOST, engine=CELERY, **_WORKER): "0x120",
            waited("12.0", CELERY): "0x120",
            waited("24.0", CELERY): "0+10x120",
            waited("+Inf", CELERY): "0+10x120",
            running_age(engine=CELERY): "0+60x30 0+60x30 0+60x30 0+60x30",
            oldest(names.STATE_PENDING, CELERY): "0+60x120",
        },
        {
            alert: quiet(11, 30, 61, 119)
            for alert in (
                "AfterwordAccountOutOfBalance",
                "AfterwordBacklogGrowing",
                "AfterwordTaskWaitHigh",
                "AfterwordTaskStuck",
                "AfterwordTaskStoppedSucceeding",
                "AfterwordTaskFailureRatioHigh",
                "AfterwordMetricsMissing",
                "AfterwordTaskLost",
                "AfterwordQueuedTaskLost",
                "AfterwordWorkerLost",
            )
        },
    ),
    Case(
        "stopped succeeding, quiet: the broker was away, and the worker's job is another one",
        {
            _WORKER_INFO: "1x120",
            ended(Outcome.SUCCEEDED, engine=CELERY): "0x120",
            ended(Outcome.DROPPED, engine=CELERY): "0x30 0+1x10 10x80",
            ended(Outcome.SUCCEEDED, engine=CELERY, **_WORKER): "0+1x30 30x10 31+1x80",
        },
        {
            "AfterwordTaskStoppedSucceeding": quiet(36, 45, 60),
        },
    ),
    Case(
        "stopped succeeding, firing: a worker's task only fails",
        {
            ended(Outcome.SUCCEEDED, engine=CELERY): "0x120",
            ended(Outcome.FAILED, engine=CELERY): "0x30 0+1x90",
        },
        {
            "AfterwordTaskStoppedSucceeding": {
                30: [],
                45: [fired("14", engine=CELERY)],
            },
        },
    ),
    Case(
        "stuck, firing: a worker's task runs for more than an hour",
        {
            running_age(engine=CELERY): "0+60x120",
        },
        {
            "AfterwordTaskStuck": {
                59: [],
                75: [fired("1h 15m 0s", engine=CELERY)],
            },
        },
    ),
    Case(
        "too many names, firing: in a worker, which has scheduled none of them",
        {
            of_task(SCHEDULED, names.OTHER, CELERY): "0x60",
            of_task(STARTED, names.OTHER, CELERY): "0x5 4x50",
        },
        {
            "AfterwordTooManyTaskNames": {
                4: [],
                6: [fired("4")],
            },
        },
    ),
    Case(
        "balance, firing: an older process that names no engine",
        {
            series(SCHEDULED, **{names.TASK: AUDIT}): "0x5 5x60",
            series(PENDING, **{names.TASK: AUDIT}): "0x60",
            series(RUNNING, **{names.TASK: AUDIT}): "0x60",
            series(names.ENDED, **{names.TASK: AUDIT, names.OUTCOME: Outcome.SUCCEEDED}): "0x60",
            INFO: "1x60",
        },
        {
            "AfterwordAccountOutOfBalance": {
                20: [fired("5", task=AUDIT)],
            },
        },
    ),
)
