"""What Celery adds: what waits in a queue, what came back, and what its workers took with them.

A section of its own, which is empty where there is no Celery, and says so.
"""

from __future__ import annotations

from typing import Any

from . import colours, names, panels, promql, queries, recording
from .causes import UNHAPPY_LINES_PANEL
from .layout import Grid
from .names import Outcome, Reason
from .parts import COUNT, PER_SECOND, Metric, legend, moment, steps, to_panel, to_task

TITLE = "Queues and workers (Celery)"
_NO_CELERY = "**If there is no Celery:** this stays empty, and nothing is missing."
_NO_QUEUE = "no queue: nobody has published to one"
_NONE = "none, or no Celery"
_CELERY = promql.equals(names.ENGINE, names.CELERY)


def section(grid: Grid, uid: str, *more: Any) -> None:
    """Add the section to a dashboard, with panels that only this one has."""
    grid.row(TITLE)
    grid.line(9, in_queue(), oldest_in_queue(), *more)
    grid.line(9, returned(uid), worker_lost())
    grid.line(9, publishing(), held())


def in_queue() -> Any:
    """Return how many messages nobody has received."""
    return panels.lines(
        "In the queue",
        "Messages that no worker has received, of any task: a queue does not know tasks or engines, so only the "
        "job and the instance narrow this. Whoever has published to a queue looks into it, every 15 seconds. "
        "**When a line only rises:** no worker consumes that queue (`-Q`), or all who do are busy; compare with "
        f"*Pending and running*, where pending is what workers hold. {_NO_CELERY}",
        Metric(queries.in_queue(names.QUEUE_MESSAGES), legend(*names.QUEUE)),
        unit=COUNT,
        none=_NO_QUEUE,
    )


def oldest_in_queue() -> Any:
    """Return the age of the message that is next."""
    return panels.lines(
        "Oldest in the queue",
        "Age of the message that is next; only Redis tells. **When it grows as fast as the clock:** nobody takes "
        f"anything from that queue. **When it grows slowly:** there are too few workers. {_NO_CELERY}",
        Metric(queries.in_queue(names.QUEUE_OLDEST), legend(*names.QUEUE)),
        unit="s",
        none=_NO_QUEUE,
    )


def returned(uid: str) -> Any:
    """Return the attempts that did not end their task."""
    panel = panels.lines(
        "Returned",
        "Attempts of Celery's tasks that did not end their task, per second, by reason; the task goes on. "
        f"**When `{Reason.TAKEN_AWAY}` is not 0:** tasks run twice; raise `visibility_timeout` above the longest "
        f"task and countdown. **When `{Reason.RETRY}` rises:** what the tasks call is in trouble. **When "
        f"`{Reason.WORKER_LOST}` is not 0:** see *Worker lost*. {_NO_CELERY}",
        Metric(queries.per_second(names.RETURNED, by=(names.REASON,)), legend(names.REASON)),
        unit=PER_SECOND,
        stacked=True,
        links=(to_panel(uid, "Lines of tasks that did not succeed", UNHAPPY_LINES_PANEL),),
        none=_NONE,
    )
    return colours.by_name(panel, colours.REASONS)


def worker_lost() -> Any:
    """Return what died with a process: one child's task, or all that a process had."""
    task = f"__field.labels.{names.TASK}"
    by = (names.TASK,)
    failed = queries.count(names.FAILURES, promql.one_of(names.ERROR, *names.WORKER_LOST_ERRORS), _CELERY, by=by)
    back = queries.count(names.RETURNED, promql.equals(names.REASON, Reason.WORKER_LOST), by=by)
    lost = queries.count(names.LOST, by=(*by, names.ENGINE))
    return panels.bars(
        "Worker lost",
        "Tasks whose process died under them, in the time range: a child of a worker, which the worker survives "
        f"({Outcome.FAILED}, or {names.RETURNED_WORD} where it is put back), or all of it ({names.OUTCOME_LOST}, "
        "by engine; for Celery only with a journal). **When there is a bar:** look for a process that ran out of "
        f"memory in the kernel's log, or a `sys.exit` in the task; click the bar for its lines. {_NO_CELERY}",
        moment(promql.at_most(7, failed), f"{legend(names.TASK)}: {Outcome.FAILED}"),
        moment(promql.at_most(7, back), f"{legend(names.TASK)}: {names.RETURNED_WORD}"),
        moment(promql.at_most(7, lost), f"{legend(names.TASK)}: {names.OUTCOME_LOST}, {legend(names.ENGINE)}"),
        unit=COUNT,
        links=(to_task(task, "Its log lines", UNHAPPY_LINES_PANEL), to_task(task)),
        thresholds=steps(colours.DARK_RED),
        none=_NONE,
    )


def publishing() -> Any:
    """Return how long callers wait until their message is with the broker."""
    by = (names.QUEUE[1], names.ERROR)
    panel = panels.lines(
        "Publishing p95",
        "Time that publishing a task took its caller, by queue, and by error if it failed. **When it grows:** the "
        "broker is slow or away, and so are the requests that publish; "
        f"what was not sent is `{Outcome.DROPPED}`. {_NO_CELERY}",
        Metric(queries.quantile(0.95, names.PUBLISH, *by), legend(*by)),
        unit="s",
        none=_NO_QUEUE,
    )
    return panels.quantiles(panel)


def held() -> Any:
    """Return how long workers held tasks before they began them."""
    panel = panels.lines(
        "Held by a worker p95",
        "Time from a worker's reception of a task to its start, a countdown included; the rest of *Wait* was in "
        "the queue. **When it grows:** workers take more than they can begin; lower `worker_prefetch_multiplier`, "
        f"or add processes. {_NO_CELERY}",
        Metric(queries.quantile(0.95, names.HELD, names.TASK), legend(names.TASK)),
        unit="s",
        none=_NONE,
    )
    return panels.quantiles(panel)


def clocks() -> Any:
    """Return the tasks that began before they were published."""
    return panels.lines(
        "Clocks that disagree",
        "Celery's tasks that began before they were published, by the clocks of two hosts: they waited for 0 s. "
        f"**When there are any:** *Wait* is too short by as much; synchronise the clocks. {_NO_CELERY}",
        Metric(queries.per_second(names.CLOCK_SKEWED), "tasks"),
        unit=PER_SECOND,
        colour=colours.BLUE,
        none=_NONE,
    )


def nowhere() -> Any:
    """Return what was published to Celery and cannot be found any more."""
    return panels.lines(
        "Scheduled and nowhere",
        "What was published in the last hour and is in no queue, in no worker, has not ended and is not lost; of "
        f"all processes together, whatever is selected. It is `{recording.QUEUE_DIFFERENCE}`, so the recording "
        "rules must be installed; its comment says why it is only about 0. **When it stays above 0:** a worker "
        "was killed that has no journal, a queue was purged, or a worker is not scraped. **When it stays below "
        f"0:** who publishes is not scraped. {_NO_CELERY}",
        Metric(f"max({recording.QUEUE_DIFFERENCE})", "scheduled and nowhere"),
        unit=COUNT,
        least=None,
        colour=colours.BLUE,
        none="nothing recorded, or no Celery",
    )
