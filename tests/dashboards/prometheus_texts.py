"""What each alert must say when it fires: typed once more, so that no change of a rule changes it unseen."""

from typing import Any, NamedTuple
from urllib.parse import quote

from dashboards.names import (
    ENGINE,
    OBSERVER,
    OUTCOME,
    OUTCOME_LOST,
    QUEUE,
    REASON,
    ROUTE,
    STATUS,
    STOPPED_BY,
    TASK,
    Outcome,
)

Fired = dict[str, str]
"""What is filled into the texts of an alert that fired."""


class Text(NamedTuple):
    """An alert's severity, labels, texts and dashboard."""

    severity: str
    labels: dict[str, str]
    summary: str
    description: str
    dashboard: str


_TASK = {TASK: "{task}", ENGINE: "{engine}"}
_WHY = {
    **_TASK,
    OUTCOME: "{outcome}",
    REASON: "{reason}",
    STOPPED_BY: "{culprit}",
    ROUTE: "{route}",
    STATUS: "{status}",
}
_QUEUE = dict(zip(QUEUE, ("{system}", "{queue}"), strict=True))
_OF_TASK = "afterword-task?var-job=shop&var-task={task}"
_OF_TASK_THERE = "afterword-task?var-job=shop&var-instance={host}&var-task={task}"
_OF_JOB = "afterword-overview?var-job=shop"
_OF_PROCESS = "afterword-overview?var-job=shop&var-instance={host}"

TEXTS = {
    "AfterwordTaskNeverRan": Text(
        "warning",
        _WHY,
        "{task} was {outcome}: {reason}",
        "{value} run(s) of {task} in shop were {outcome} in the last 5 minutes, {hourly} in the last hour: they "
        'were scheduled, and their work was not done. The reason is {reason}{behind}, the route "{route}".',
        _OF_TASK,
    ),
    "AfterwordTaskDroppedByClientError": Text(
        "info",
        _WHY,
        "{task} is dropped where a client gets a {status}",
        "{value} run(s) of {task} in shop were dropped in the last 5 minutes, {hourly} in the last hour, since "
        'their requests to "{route}" were answered with {status}.',
        _OF_TASK,
    ),
    "AfterwordTaskLost": Text(
        "warning",
        {**_TASK, OUTCOME: OUTCOME_LOST},
        "{task} was lost with its process",
        "{value} run(s) of {task} in shop were pending or running in a process that died in the last 5 minutes, "
        "{hourly} in the last hour; whether their work is done, nobody knows.",
        _OF_TASK,
    ),
    "AfterwordTaskFailureRatioHigh": Text(
        "warning",
        _TASK,
        "{task} fails in {value} of its runs",
        "{value} of the runs of {task} in shop that ended in the last 5 minutes had failed; in the last hour, "
        "{hourly} run(s) failed.",
        _OF_TASK,
    ),
    "AfterwordTaskStoppedSucceeding": Text(
        "critical",
        _TASK,
        "{task} does not succeed any more",
        "{value} run(s) of {task} in shop ended in the last hour, and none of them succeeded.",
        _OF_TASK,
    ),
    "AfterwordTaskCancelled": Text(
        "warning",
        {**_TASK, OUTCOME: Outcome.CANCELLED},
        "{task} was cut off while it ran",
        "{value} run(s) of {task} in shop were cancelled in the last 5 minutes, {hourly} in the last hour, mostly "
        "by a deploy; their work is half done.",
        _OF_TASK,
    ),
    "AfterwordTaskWaitHigh": Text(
        "warning",
        _TASK,
        "{task} starts late",
        "One run in twenty of {task} in shop starts more than {value} after it was scheduled.{most}",
        _OF_TASK,
    ),
    "AfterwordTaskSlowerThanUsual": Text(
        "warning",
        _TASK,
        "{task} takes much longer than usual",
        "One run in twenty of {task} in shop takes more than {value}, five times as long as it usually did in the "
        "last day. What waits behind it is late, too.",
        _OF_TASK,
    ),
    "AfterwordBacklogGrowing": Text(
        "warning",
        _TASK,
        "The backlog of {task} grows",
        "{value} run(s) of {task} in shop are scheduled and have not begun, and there are more and more of them."
        "{most}",
        _OF_TASK,
    ),
    "AfterwordWorkerThreadsExhausted": Text(
        "critical",
        {"instance": "{instance}"},
        "All worker threads of {instance} are taken",
        "On average {value} callers wait for a worker thread in {instance} of shop: def tasks, def endpoints and "
        "def dependencies all stand in that queue.{most}",
        _OF_PROCESS,
    ),
    "AfterwordEventLoopBlocked": Text(
        "warning",
        {"instance": "{instance}", TASK: "{culprit}"},
        "The event loop of {instance} is held up{holder}",
        "In the last 10 minutes the event loop of {instance} of shop was held up {value} time(s){holder}, for "
        "more than a second three times or for more than ten once: no request and no async task of it went on "
        "meanwhile. Lines event_loop.blocked say where.",
        _OF_PROCESS,
    ),
    "AfterwordTaskStuck": Text(
        "warning",
        {"instance": "{instance}", **_TASK},
        "{task} does not end",
        "The oldest run of {task} in {instance} of shop has been running for {value}.",
        _OF_TASK_THERE,
    ),
    "AfterwordAccountOutOfBalance": Text(
        "warning",
        {"instance": "{instance}", TASK: "{task}"},
        "The account of {task} does not add up",
        "In {instance} of shop, the scheduled runs of {task} differ by {value} from those that are pending, "
        "running, ended and lost. Numbers on the dashboards may be wrong.",
        _OF_TASK_THERE,
    ),
    "AfterwordTooManyTaskNames": Text(
        "info",
        {"instance": "{instance}"},
        "{instance} has more task names than it may have",
        '{value} run(s) in {instance} of shop are counted as "other", since the process has reached its bound on '
        "task names.",
        "afterword-task?var-job=shop&var-instance={host}&var-task=other",
    ),
    "AfterwordMetricsMissing": Text(
        "warning",
        {"instance": "{instance}"},
        "{instance} does not account for its background tasks",
        "Prometheus scrapes {instance} of shop, but finds no metrics of Afterword there; elsewhere or earlier in "
        "the same job it did.",
        _OF_PROCESS,
    ),
    "AfterwordNoAnswer": Text(
        "critical",
        {"instance": "{instance}"},
        "{instance} does not answer, or not always",
        "{instance} of shop answered {value} of the scrapes in the last 10 minutes. Of the rest of the time no "
        "other alert can know: its event loop was blocked, it was overloaded, or it was not there.",
        _OF_PROCESS,
    ),
    "AfterwordObserverErrors": Text(
        "warning",
        {"instance": "{instance}", OBSERVER: "{observer}"},
        "The observer {observer} raises errors",
        "{observer} raised {value} errors in {instance} of shop in the last 5 minutes; what it was told of is "
        "missing where it reports to.",
        _OF_PROCESS,
    ),
    "AfterwordTaskNotScheduled": Text(
        "warning",
        _TASK,
        "{task} is not scheduled any more",
        "No run of {task} was scheduled in shop in the last hour; in the same hour of yesterday there were "
        "{value}. Nothing fails, since nothing is tried.",
        _OF_TASK,
    ),
    "AfterwordQueueNotConsumed": Text(
        "critical",
        _QUEUE,
        "Nothing leaves the queue {queue}",
        "{value} message(s) wait in the queue {queue} ({system}), to which shop publishes, and for ten minutes it "
        "has never become shorter: no worker consumes it, or all who do are busy.",
        _OF_JOB,
    ),
    "AfterwordQueueGrowing": Text(
        "warning",
        _QUEUE,
        "The queue {queue} grows",
        "{value} messages wait in the queue {queue} ({system}), to which shop publishes, and there are more and "
        "more of them: its workers do not keep up.",
        _OF_JOB,
    ),
    "AfterwordTaskRanTwice": Text(
        "warning",
        _TASK,
        "{task} ran more than once",
        "{value} attempt(s) of {task} in shop ended in the last 5 minutes, {hourly} in the last hour, when their "
        "message had been given to another worker: the same task ran again, or runs again now.",
        _OF_TASK,
    ),
    "AfterwordTaskUnregistered": Text(
        "critical",
        {**_TASK, OUTCOME: Outcome.ABANDONED},
        "No worker of shop can call {task}",
        "{value} message(s) for {task} came to a worker of shop in the last 5 minutes, {hourly} in the last hour, "
        "that has no such task, or cannot read them. They are gone: Celery throws them away.",
        _OF_TASK,
    ),
    "AfterwordWorkerLost": Text(
        "warning",
        _TASK,
        "A process died while it ran {task}",
        "{value} attempt(s) of {task} in shop ended in the last 5 minutes, {hourly} in the last hour, with the "
        "process that ran them: a child of a worker was killed, ran out of memory, or exited.",
        _OF_TASK,
    ),
    "AfterwordQueuedTaskLost": Text(
        "warning",
        {**_TASK, OUTCOME: OUTCOME_LOST},
        "{task} was lost with its worker",
        "{value} run(s) of {task} in shop had begun in a worker that died, and their messages were acknowledged: "
        "nothing runs them again. The next worker found them in the journal in the last 5 minutes, {hourly} in "
        "the last hour.",
        _OF_TASK,
    ),
}


def expected(alert: str, fired: Fired) -> dict[str, Any]:
    """Return the alert as promtool must find it."""
    text, fields = TEXTS[alert], {**fired, "host": quote(fired["instance"])}
    labels = {label: value.format(**fields) for label, value in text.labels.items()}
    return {
        "exp_labels": {"severity": text.severity, "job": "shop", **{k: v for k, v in labels.items() if v}},
        "exp_annotations": {
            "summary": text.summary.format(**fields),
            "description": text.description.format(**fields),
            "dashboard_url": f"http://localhost:3000/d/{text.dashboard.format(**fields)}",
            "runbook_url": f"RUNBOOK.md#{alert.lower()}",
        },
    }
