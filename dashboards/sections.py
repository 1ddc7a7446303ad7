"""Panels that both dashboards have: of all tasks there, of ``$task`` here."""

from __future__ import annotations

from typing import Any

from . import colours, names, panels, queries
from .causes import UNDONE_LINES_PANEL, UNHAPPY_LINES_PANEL
from .colours import GREEN, RED, THREADS, YELLOW
from .names import Outcome
from .parts import COUNT, PER_SECOND, TASKS, Metric, dashed, legend, moment, steps, to_panel

PERCENTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


# --- the account at a glance ------------------------------------------------------------------------------------


def undone_number(uid: str) -> Any:
    """Return the red number."""
    return panels.number(
        "Tasks that never ran or were lost",
        "Tasks that were scheduled in this time range and whose work was not done: they never ran (skipped, "
        "dropped, abandoned), or were lost with their process.\n\n**When it is red:** click it for their log "
        "lines. Each says in which request it was, why, and what to change; its "
        f"`{names.KEY_TRACE_ID}` leads to the trace.",
        moment(queries.undone_count(), names.UNDONE_TOGETHER),
        unit=COUNT,
        thresholds=steps(GREEN, (0.01, RED)),
        loud=True,
        links=(to_panel(uid, "Their log lines", UNDONE_LINES_PANEL),),
    )


def scheduled_number() -> Any:
    """Return how many tasks are scheduled."""
    return panels.number(
        "Scheduled",
        "Calls of `add_task`, tasks made by hand, and tasks published to Celery, per second, where that is done. "
        "**When it drops to nothing:** requests no longer reach the code that schedules, or the scrape fails.",
        Metric(queries.per_second(names.SCHEDULED), "scheduled"),
        unit=TASKS,
    )


def succeeded_number() -> Any:
    """Return how many succeed."""
    return panels.number(
        "Succeeded",
        "Tasks whose function returned, per second. **When it is below Scheduled:** the difference failed, "
        "never ran, was lost, or still waits; the numbers next to this one say which. Celery's tasks succeed in a "
        "worker, so select its job, too.",
        Metric(queries.per_second(names.ENDED, queries.SUCCEEDED), Outcome.SUCCEEDED),
        unit=TASKS,
        thresholds=steps(GREEN),
    )


def failed_number(uid: str) -> Any:
    """Return how many fail."""
    return panels.number(
        "Failed",
        "Tasks that raised, or returned something that nobody awaits, per second. **When it is red:** click it "
        "for the log lines with the error, and from there go to the trace. A failure skips the tasks behind it "
        "in its batch.",
        Metric(queries.per_second(names.ENDED, queries.FAILED), Outcome.FAILED),
        unit=TASKS,
        thresholds=steps(GREEN, (1e-9, RED)),
        links=(to_panel(uid, "The log lines", UNHAPPY_LINES_PANEL),),
    )


def undone_rate(uid: str) -> Any:
    """Return how many never run, per second."""
    return panels.number(
        "Never ran or lost",
        "Tasks that were given up without having been called, or whose process died, per second. **When it is "
        "red:** work is not done right now; click it for the log lines, which say what to change.",
        Metric(queries.undone_per_second(), names.UNDONE_TOGETHER),
        unit=TASKS,
        thresholds=steps(GREEN, (1e-9, RED)),
        links=(to_panel(uid, "Their log lines", UNDONE_LINES_PANEL),),
    )


def failure_number(uid: str) -> Any:
    """Return the failure ratio now."""
    return panels.number(
        "Failure ratio",
        "Failed tasks among all that ended. **When it is red:** find the task under *Causes*; if all of them "
        "fail, look for what they share, such as a mail server or a database.",
        Metric(queries.failure_ratio(), Outcome.FAILED),
        unit="percentunit",
        thresholds=steps(GREEN, (0.01, YELLOW), (0.05, RED)),
        links=(to_panel(uid, "The log lines", UNHAPPY_LINES_PANEL),),
        none="no task ended",
    )


def oldest_number() -> Any:
    """Return the age of the oldest run."""
    return panels.number(
        "Oldest",
        "Age of the oldest task that waits, and of the oldest that runs, of all tasks of the processes. **When "
        "it is red:** a task hangs, or its response never ends (a stream); a task without a timeout is the "
        "usual cause. `afterword.running()` in that process names it.",
        Metric(queries.now(names.OLDEST, names.STATE, function="max"), legend(names.STATE)),
        unit="s",
        thresholds=steps("text", (60, YELLOW), (600, RED)),
        none="none",
    )


# --- flow -------------------------------------------------------------------------------------------------------


def throughput() -> Any:
    """Return what becomes of tasks, over time."""
    panel = panels.lines(
        "Throughput by outcome",
        "What became of the tasks that ended, per second. **When anything but green grows:** purple tasks never "
        "ran (skipped, dropped, abandoned), dark red ones were lost with their process, red ones failed, orange "
        "ones were cut off, mostly by a deploy.",
        Metric(queries.outcomes_per_second(names.OUTCOME), legend(names.OUTCOME)),
        unit=PER_SECOND,
        stacked=True,
        beside=True,
    )
    return colours.by_name(panel, colours.OUTCOMES)


def in_flight() -> Any:
    """Return what waits and what runs."""
    panel = panels.lines(
        "Pending and running",
        "Tasks that are scheduled but not begun, and tasks that run; of Celery's, those in a worker's hands. "
        "**When pending grows without end:** responses do not complete, or worker threads are taken; compare with "
        "*Worker threads*. **When running grows:** a task hangs or has become slow.",
        Metric(queries.now(names.PENDING), names.STATE_PENDING),
        Metric(queries.now(names.RUNNING), names.STATE_RUNNING),
        unit=COUNT,
    )
    return colours.by_name(panel, colours.STATES)


def ratios(uid: str) -> Any:
    """Return the parts of the tasks that did not succeed, over time."""
    panel = panels.lines(
        "Failure ratio over time",
        "Parts of the tasks that ended. No line where none ended. **When it rises:** a step up that coincides "
        "with *process started* is a deploy to roll back; otherwise look at *Causes* for the exception.",
        Metric(queries.failure_ratio(), Outcome.FAILED),
        Metric(queries.undone_ratio(), names.UNDONE_TOGETHER),
        Metric(queries.cancelled_ratio(), Outcome.CANCELLED),
        unit="percentunit",
        links=(to_panel(uid, "The log lines", UNHAPPY_LINES_PANEL),),
    )
    return colours.by_name(panel, colours.OUTCOMES)


# --- time -------------------------------------------------------------------------------------------------------


def percentiles(title: str, description: str, histogram: str, *, by_task: bool) -> Any:
    """Return p50, p95 and p99 of a time, with exemplars that lead to traces."""
    by, prefix = ((names.TASK,), f"{legend(names.TASK)} ") if by_task else ((), "")
    measured = [
        Metric(queries.quantile(q, histogram, *by), prefix + name, exemplars=name == "p99")
        for q, name in PERCENTILES
    ]
    panel = panels.lines(title, description, *measured, unit="s").fill_opacity(0)
    return colours.by_quantile(panels.quantiles(panel))


def wait(*, by_task: bool) -> Any:
    """Return the wait until tasks start."""
    return percentiles(
        "Wait",
        "Time from `add_task` to the start: the rest of the request, its response, and the tasks before. For "
        "Celery, from the publish, or the end of the countdown, to the first attempt. **When it grows:** a slow "
        "response or stream holds its tasks up, or an earlier task of the batch is slow; for Celery, there are "
        "too few workers. A dot is an exemplar: it leads to the trace of one task.",
        names.WAIT,
        by_task=by_task,
    )


def thread_wait(*, by_task: bool) -> Any:
    """Return the wait for a worker thread."""
    return percentiles(
        "Thread wait",
        "Time that `def` tasks waited for a worker thread, which is not part of their duration. **When it "
        "grows:** the threads are taken, by these tasks or by `def` endpoints. Make the slow ones `async`, or "
        "raise the limiter's `total_tokens`.",
        names.THREAD_WAIT,
        by_task=by_task,
    )


def duration(*, by_task: bool) -> Any:
    """Return how long tasks run."""
    return percentiles(
        "Duration",
        "Time that tasks ran, without their waits. **When it grows:** click an exemplar and look in the trace "
        "for the span that takes the time. What takes minutes belongs into a job queue.",
        names.DURATION,
        by_task=by_task,
    )


def threads() -> Any:
    """Return the worker threads."""
    panel = panels.lines(
        "Worker threads",
        "Threads that `def` tasks, endpoints and dependencies share, of all selected processes, and who waits "
        "for one. **When anybody waits:** make slow `def` functions `async`, or raise "
        "`anyio.to_thread.current_default_thread_limiter().total_tokens`.",
        Metric(queries.now(names.THREADS_BUSY), "busy"),
        Metric(queries.now(names.THREADS_WAITING), "waiting"),
        Metric(queries.now(names.THREADS_LIMIT), "limit"),
        unit=COUNT,
    )
    return colours.by_name(panel, THREADS).override_by_name("limit", dashed())


def loop_lag() -> Any:
    """Return how late the event loops are."""
    instance = names.PROCESS[1]
    panel = panels.lines(
        "Event loop lag",
        "How late the event loop of each process was at the worst, to the next bound of its buckets. **When it is "
        f"above a second:** something async does not await; lines `{names.EVENT_BLOCKED}` say what, or where.",
        Metric(queries.quantile(1, names.LOOP_LAG, instance), legend(instance)),
        unit="s",
        none="no loop is watched",
    )
    return panels.quantiles(panel)
