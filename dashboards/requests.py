"""Requests that failed, and with them perhaps their tasks."""

from __future__ import annotations

from typing import Any

from . import colours, names, panels, promql, queries
from .parts import Lines, Metric, Now, legend


def errors() -> Any:
    """Return failed requests over time."""
    panel = panels.lines(
        "Request errors by route and status",
        "Requests that ended in an exception, per second. Their tasks are dropped unless they are marked with "
        "`run_on_request_error`. **When a 5xx rises:** read the traceback among the lines below. **When a 4xx "
        "rises:** a client has changed.",
        Metric(
            queries.per_second(names.REQUEST_ERRORS, by=(names.METHOD, names.ROUTE, names.STATUS)),
            legend(names.STATUS, names.METHOD, names.ROUTE),
        ),
        unit="reqps",
        stacked=True,
    )
    return colours.by_status(panel)


def by_error() -> Any:
    """Return failed requests by their error."""
    by = (names.STATUS, names.METHOD, names.ROUTE, names.ERROR)
    return panels.rows(
        "Failed requests",
        "By route, status and exception, in the time range. **When a route is here with 5xx:** each of these "
        "requests may have dropped tasks; compare with *Tasks that never ran or were lost*.",
        Now(promql.at_most(50, queries.count(names.REQUEST_ERRORS, by=by))),
        columns=[
            (names.STATUS, "Status", panels.wide(64)),
            (names.METHOD, "Method", panels.wide(76)),
            (names.ROUTE, "Route", panels.named()),
            (names.ERROR, "Error", panels.named()),
            ("Value", "Requests", panels.wide(104)),
        ],
        order="Requests",
        none="none in this time range",
    )


def log_lines() -> Any:
    """Return the log lines of failed requests."""
    return panels.log_lines(
        "Lines of failed requests",
        f"`{names.EVENT_REQUEST_FAILED}`, once per failed request. **When there are lines:** open one; "
        f"`{names.KEY_TRACE_ID}` leads to the trace, which shows the tasks that the request took with it.",
        Lines(queries.REQUEST_LINES),
    )
