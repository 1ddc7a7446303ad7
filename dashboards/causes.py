"""From a number to its cause: exceptions, log lines, spans; both dashboards have them."""

from __future__ import annotations

from typing import Any

from . import names, panels, promql, queries
from .parts import Lines, Now, Spans, links_value, to_task

UNDONE_LINES_PANEL = 100
UNHAPPY_LINES_PANEL = 101
REQUEST_LINES_PANEL = 102
TASK_LINES_PANEL = 103


def exceptions(at_most: int) -> Any:
    """Return the exceptions that tasks fail with."""
    return panels.rows(
        "Top exceptions",
        "What tasks failed with, in the time range. **When a new one is at the top:** click the task for its "
        "log lines, each with the exception's text and its trace.",
        Now(promql.at_most(at_most, queries.count(names.FAILURES, by=(names.ERROR, names.TASK)))),
        columns=[
            (names.ERROR, "Exception", panels.named()),
            (
                names.TASK,
                "Task",
                panels.named(
                    links_value(
                        to_task("__value.raw", "Its log lines", UNHAPPY_LINES_PANEL), to_task("__value.raw")
                    )
                ),
            ),
            ("Value", "Failures", panels.wide(100)),
        ],
        order="Failures",
        none="none in this time range",
    )


def undone_lines() -> Any:
    """Return the log lines of the tasks that never ran or were lost."""
    return panels.log_lines(
        "Lines of the tasks that never ran or were lost",
        "One line for each task that was skipped, dropped or abandoned, or was lost with its process. **When "
        "there are lines:** read the reason at the end, which says what to change; open a line, and "
        f"`{names.KEY_TRACE_ID}` leads to the trace in which the task is missing.",
        Lines(queries.UNDONE_LINES),
    )


def unhappy_lines() -> Any:
    """Return the log lines of the tasks that did not succeed."""
    return panels.log_lines(
        "Lines of the tasks that did not succeed",
        "One line for each task that did not succeed. **When there are lines:** open one; its fields have the "
        f"outcome, the error and the times, and `{names.KEY_TRACE_ID}` leads to the trace.",
        Lines(queries.UNHAPPY_LINES),
    )


def task_lines() -> Any:
    """Return every line of the task."""
    return panels.log_lines(
        "All lines of the task",
        "What the task itself logged (with `afterword.logs.add_context` or `configure()`), and what Afterword "
        "says of it, tracebacks included. **When a run failed:** filter by its "
        f"`{names.KEY_TASK_RUN}` to see that run alone.",
        Lines(queries.TASK_LINES),
        wrap=False,
    )


def unhappy_spans() -> Any:
    """Return the spans of the tasks that did not succeed."""
    return panels.spans(
        "Traces of the tasks that did not succeed",
        "Spans of tasks that did not succeed; one that never started has a span from its scheduling to the "
        "moment it was given up. **When there are any:** click one for its trace; *Logs for this span* leads "
        "back to the lines.",
        Spans(queries.UNHAPPY_SPANS),
    )


def recent_spans() -> Any:
    """Return the latest spans of the task."""
    return panels.spans(
        "Latest traces",
        "The latest runs of the task with any outcome. **When the heatmap shows slow runs:** sort by duration "
        "and open one; its children say where the time goes.",
        Spans(queries.SLOW_SPANS),
    )
