"""*Background task — one task*: the account of ``$task``, down to its traces and log lines."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard

from . import causes, colours, names, panels, promql, queries, queues, sections
from .frame import frame, link
from .layout import Grid
from .parts import (
    COUNT,
    OVERVIEW_UID,
    PER_SECOND,
    TASK_UID,
    Buckets,
    Metric,
    in_first_bucket,
    legend,
    moment,
    to_panel,
)

_UID = TASK_UID


def build() -> Dashboard:
    """Return the dashboard."""
    dashboard = frame(
        TASK_UID,
        "Background task — one task",
        "One background task, or some: account, times, traces and log lines. Accounts by Afterword.",
        other=link("All tasks", OVERVIEW_UID),
        every_task=False,
    )
    grid = Grid(dashboard)
    grid.beside(
        sections.undone_number(_UID),
        6,
        8,
        (sections.scheduled_number(), sections.succeeded_number(), sections.failed_number(_UID)),
        (sections.undone_rate(_UID), sections.failure_number(_UID), now_number()),
    )
    grid.line(10, heat(), sections.throughput())
    grid.row("Flow")
    grid.line(9, sections.in_flight(), sections.ratios(_UID), by_instance())
    queues.section(grid, _UID)
    grid.row("Time")
    grid.line(9, sections.duration(by_task=True), sections.wait(by_task=True), sections.thread_wait(by_task=True))
    grid.line(9, by_outcome(), sections.threads(), slowest_instances())
    grid.row("Causes")
    grid.line(9, causes.exceptions(50), causes.unhappy_spans(), widths=(10, 14))
    grid.line(10, causes.unhappy_lines(), ids={0: causes.UNHAPPY_LINES_PANEL})
    grid.line(9, causes.undone_lines(), ids={0: causes.UNDONE_LINES_PANEL})
    grid.line(12, causes.task_lines(), ids={0: causes.TASK_LINES_PANEL})
    grid.line(9, causes.recent_spans())
    return dashboard


def now_number() -> Any:
    """Return what waits and runs now."""
    panel = panels.number(
        "Now",
        "Runs of this task that wait, and that run. **When many wait:** their responses do not complete, or "
        "worker threads are taken. **When one runs for ever:** it hangs; give what it waits for a timeout.",
        Metric(queries.now(names.PENDING), names.STATE_PENDING),
        Metric(queries.now(names.RUNNING), names.STATE_RUNNING),
        unit=COUNT,
    )
    return colours.by_name(panel, colours.STATES)


def heat() -> Any:
    """Return the heatmap of the duration, with exemplars."""
    return panels.buckets(
        "Duration, every run",
        "How long the runs took; the darker, the more. A dot is an exemplar: hover over it and *Query with "
        "Tempo* opens the trace of that very run. **When a second band appears far up:** something times out; "
        "open a dot in it.",
        Buckets(queries.heatmap(names.DURATION)),
    )


def by_outcome() -> Any:
    """Return the duration by outcome."""
    panel = panels.lines(
        "Duration p95 by outcome",
        "How long runs took, by how they ended. **When failed runs are slower than the others:** they fail by a "
        "timeout. **When they are faster:** they fail at once, by their input or a connection that is refused.",
        Metric(queries.quantile(0.95, names.DURATION, names.OUTCOME), legend(names.OUTCOME)),
        unit="s",
    )
    return panels.quantiles(colours.by_name(panel, colours.OUTCOMES))


def by_instance() -> Any:
    """Return which instances have the trouble."""
    panel = panels.lines(
        "Trouble by instance",
        "Runs that failed, never ran or were lost, per second, in each instance. **When one instance has it "
        "all:** that machine, its network or its version is the cause; when all have it, the code or what it "
        "calls.",
        Metric(queries.unhappy_per_second(*names.PROCESS), legend("instance")),
        unit=PER_SECOND,
        stacked=True,
        links=(to_panel(_UID, "The log lines", causes.UNHAPPY_LINES_PANEL),),
    )
    return panel.color_scheme(colours.shades_of(colours.RED))


def slowest_instances() -> Any:
    """Return the slowest instances."""
    p95 = queries.quantile(0.95, names.DURATION, *names.PROCESS, over="$__range")
    panel = panels.bars(
        "Slowest instances",
        "The largest p95 of the duration in the time range, by instance. **When one stands out:** that machine "
        "is starved or far from what the task calls.",
        moment(promql.at_most(7, p95), legend("instance")),
        unit="s",
    )
    return panel.mappings([in_first_bucket()])
