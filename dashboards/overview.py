"""*Background tasks — overview*: the account of all tasks, of one process or a fleet."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from . import causes, colours, names, panels, promql, queries, queues, requests, sections
from .colours import BLUE, ORANGE, RED, YELLOW
from .frame import frame, link
from .layout import Grid
from .names import Outcome
from .parts import (
    COUNT,
    OVERVIEW_UID,
    PER_SECOND,
    TASK_UID,
    Metric,
    Now,
    in_first_bucket,
    legend,
    links_value,
    moment,
    steps,
    steps_value,
    to_task,
)

_NAME = names.TASK
_ON_NAME = f"__field.labels.{_NAME}"


def build() -> Dashboard:
    """Return the dashboard."""
    dashboard = frame(
        OVERVIEW_UID,
        "Background tasks — overview",
        "Every background task of the selected processes, scheduled or not, ran or not. Accounts by Afterword.",
        other=link("One task", TASK_UID),
        every_task=True,
    )
    grid = Grid(dashboard)
    uid = OVERVIEW_UID
    grid.beside(
        sections.undone_number(uid),
        6,
        8,
        (sections.scheduled_number(), sections.succeeded_number(), sections.failed_number(uid)),
        (sections.undone_rate(uid), sections.failure_number(uid), sections.oldest_number()),
    )
    grid.line(10, every_task())
    grid.row("Flow")
    grid.line(9, sections.throughput(), sections.in_flight())
    grid.line(9, sections.ratios(uid), undone_by_task(), widths=(8, 16))
    grid.line(9, last_scheduled(), scheduled_by_task(), widths=(8, 16))
    queues.section(grid, uid, queues.nowhere())
    grid.row("Time")
    grid.line(
        9, sections.duration(by_task=False), sections.wait(by_task=False), sections.thread_wait(by_task=False)
    )
    grid.line(9, sections.threads(), fullest(), sections.loop_lag(), slowest())
    grid.row("Causes")
    grid.line(12, failing(), causes.exceptions(20), top_undone(), widths=(6, 12, 6))
    grid.line(10, causes.undone_lines(), ids={0: causes.UNDONE_LINES_PANEL})
    grid.line(10, causes.unhappy_lines(), ids={0: causes.UNHAPPY_LINES_PANEL})
    grid.line(9, causes.unhappy_spans())
    grid.row("Requests that failed")
    grid.line(9, requests.errors(), requests.by_error())
    grid.line(9, requests.log_lines(), ids={0: causes.REQUEST_LINES_PANEL})
    grid.row("Afterword itself")
    grid.line(6, observer_errors(), queues.clocks(), versions())
    return dashboard


def every_task() -> Any:
    """Return the table with one row per task."""
    seconds = (
        DynamicConfigValue("unit", "s"),
        DynamicConfigValue("decimals", None),
        DynamicConfigValue("mappings", [in_first_bucket()]),
    )
    ratio = (
        DynamicConfigValue("unit", "percentunit"),
        DynamicConfigValue("decimals", 1),
        DynamicConfigValue("thresholds", steps_value("text", (0.01, YELLOW), (0.05, RED))),
        DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
    )
    name = panels.named(
        links_value(
            to_task("__value.raw"),
            to_task("__value.raw", "Its lines of tasks that did not succeed", causes.UNHAPPY_LINES_PANEL),
        ),
        room=28,
    )

    def red(pixels: int, colour: str) -> list[DynamicConfigValue]:
        cell = DynamicConfigValue("custom.cellOptions", {"type": "color-text"})
        return panels.wide(pixels, DynamicConfigValue("thresholds", steps_value("text", (0.01, colour))), cell)

    by = (_NAME,)
    return panels.rows(
        "Tasks",
        "One row per task, over the time range; pending and running are of now, and *Thread* is the wait for a "
        "worker thread. **When a number is red:** click "
        "the task's name for its own dashboard or its log lines.",
        Now(queries.count(names.SCHEDULED, by=by)),
        Now(queries.count(names.ENDED, queries.SUCCEEDED, by=by)),
        Now(queries.count(names.ENDED, queries.FAILED, by=by)),
        Now(queries.count(names.ENDED, queries.CANCELLED, by=by)),
        Now(queries.undone_count(*by)),
        Now(queries.failed_share(*by)),
        Now(queries.now(names.PENDING, *by)),
        Now(queries.now(names.RUNNING, *by)),
        Now(queries.slowness(names.WAIT, *by)),
        Now(queries.slowness(names.THREAD_WAIT, *by)),
        Now(queries.slowness(names.DURATION, *by)),
        columns=[
            (_NAME, "Task", name),
            ("Value #E", "Never ran or lost", red(134, RED)),
            ("Value #C", "Failed", red(62, RED)),
            ("Value #F", "Failure ratio", panels.wide(102, *ratio)),
            ("Value #D", "Cancelled", red(84, ORANGE)),
            ("Value #A", "Scheduled", panels.wide(106)),
            ("Value #B", "Succeeded", panels.wide(98)),
            ("Value #G", "Pending", panels.wide(72)),
            ("Value #H", "Running", panels.wide(72)),
            ("Value #I", "Wait p95", panels.wide(80, *seconds)),
            ("Value #J", "Thread p95", panels.wide(94, *seconds)),
            ("Value #K", "Duration p95", panels.wide(106, *seconds)),
        ],
        order="Scheduled",
        none="none in this time range",
    )


def scheduled_by_task() -> Any:
    """Return which tasks are scheduled, over time."""
    return panels.lines(
        "Scheduled, by task",
        "Per second. **When a line falls to nothing while its neighbours go on:** their requests still come, and "
        "the code has stopped asking for this task. Look at what was deployed then; nothing else shows it, since "
        "nothing fails.",
        Metric(queries.per_second(names.SCHEDULED, by=(_NAME,)), legend(_NAME)),
        unit=PER_SECOND,
        beside=True,
        links=(to_task(_ON_NAME),),
    )


def last_scheduled() -> Any:
    """Return when each task was last scheduled."""
    name = panels.named(links_value(to_task("__value.raw")))
    return panels.rows(
        "Last scheduled",
        "When each task was last seen to be scheduled, in the time range. **When it is long ago for one that is "
        "usually scheduled:** see *Scheduled, by task* for when that ended. What is not here at all was not "
        "scheduled in the time range.",
        Now(queries.last_scheduled(_NAME)),
        columns=[
            (_NAME, "Task", name),
            ("Value", "Last scheduled", panels.wide(160, DynamicConfigValue("unit", "dateTimeFromNow"))),
        ],
        order="Last scheduled",
        none="none in this time range",
    )


def undone_by_task() -> Any:
    """Return which tasks never ran or were lost, over time."""
    panel = panels.lines(
        "Never ran or lost, by task",
        "Tasks whose work was not done, per second. **When a line rises:** click it for the task's log lines. "
        f"`{Outcome.SKIPPED}`: mend the task before it; `{Outcome.DROPPED}`: "
        f"`@task(run_on_request_error=True)`, for Celery see whether it expired or the broker was away; "
        f"`{Outcome.ABANDONED}`: attach it to the response that is really sent, for Celery let the worker import "
        f"it; `{names.OUTCOME_LOST}`: find out why its process died.",
        Metric(
            queries.undone_per_second(_NAME, names.OUTCOME) + " > 0",
            legend(_NAME, names.OUTCOME),
        ),
        unit=PER_SECOND,
        beside=True,
        links=(to_task(_ON_NAME, "Its log lines", causes.UNDONE_LINES_PANEL),),
    )
    return colours.by_task_and_outcome(panel, shades=True)


def fullest() -> Any:
    """Return how full the fullest process is."""
    return panels.lines(
        "Fullest process",
        "Part of the worker threads that is taken in the process where it is largest. **When it stays at 100 "
        "%:** that process starves while the others may be idle; select it as instance and look for the slow "
        "`def` task.",
        Metric(queries.fullest_process(), "threads taken"),
        unit="percentunit",
        top=1,
        colour=BLUE,
    )


def slowest() -> Any:
    """Return the slowest tasks."""
    panel = panels.bars(
        "Slowest tasks",
        "The largest p95 of the duration in the time range. **When a task is here that should be fast:** click "
        "it, then click an exemplar in its heatmap for a trace.",
        moment(
            promql.at_most(7, queries.quantile(0.95, names.DURATION, _NAME, over="$__range")),
            legend(_NAME),
        ),
        unit="s",
        links=(to_task(_ON_NAME),),
    )
    return panel.mappings([in_first_bucket()])


def failing() -> Any:
    """Return the tasks that fail most."""
    return panels.bars(
        "Top failing tasks",
        "Failures in the time range. **When there is a bar:** click it for the task's log lines with the error.",
        moment(promql.at_most(10, queries.count(names.ENDED, queries.FAILED, by=(_NAME,))), legend(_NAME)),
        unit=COUNT,
        links=(to_task(_ON_NAME, "Its log lines", causes.UNHAPPY_LINES_PANEL), to_task(_ON_NAME)),
        thresholds=steps(RED),
    )


def top_undone() -> Any:
    """Return the tasks that most often never ran or were lost."""
    panel = panels.bars(
        "Top tasks that never ran or were lost",
        "How many, and what became of them, in the time range. **When there is a bar:** click it for the log "
        "lines; each says what to change.",
        moment(
            promql.at_most(10, queries.undone_count(_NAME, names.OUTCOME)),
            legend(_NAME, names.OUTCOME),
        ),
        unit=COUNT,
        links=(to_task(_ON_NAME, "Its log lines", causes.UNDONE_LINES_PANEL),),
    )
    return colours.by_task_and_outcome(panel, shades=False)


def observer_errors() -> Any:
    """Return the errors of observers."""
    return panels.lines(
        "Observer errors",
        "Exceptions of the application's own `TaskObserver`s. They never disturb a task. **When there are "
        "any:** the observer is logged once with its traceback; mend it.",
        Metric(queries.per_second(names.OBSERVER_ERRORS, by=(names.OBSERVER,)), legend(names.OBSERVER)),
        unit=PER_SECOND,
    )


def versions() -> Any:
    """Return the processes that report."""
    return panels.lines(
        "Instances that report",
        "Instances that are accounted for, by Afterword's version. **When there are fewer than expected:** the "
        "others are down, not scraped, or have no `instrument(app)`.",
        Metric(queries.now(names.INFO, names.VERSION, function="count"), f"version {legend(names.VERSION)}"),
        unit=COUNT,
    )
