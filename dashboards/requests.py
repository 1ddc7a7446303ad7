"""Requests that failed, and with them perhaps their tasks."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from . import panels, queries
from .parts import Lines, Metric, Now


def errors() -> Any:
    """Return failed requests over time."""
    return panels.lines(
        "Request errors by route and status",
        "Requests that ended in an exception, per second. Their tasks are dropped unless they are marked with "
        "`run_on_request_error`. **When a 5xx rises:** read the traceback among the lines below. **When a 4xx "
        "rises:** a client has changed.",
        Metric(
            queries.per_second(queries.REQUEST_ERRORS, by=(queries.METHOD, queries.ROUTE, queries.STATUS)),
            "{{http_response_status_code}} {{http_request_method}} {{http_route}}",
        ),
        unit="reqps",
        stacked=True,
    )


def by_error() -> Any:
    """Return failed requests by their error."""
    by = (queries.STATUS, queries.METHOD, queries.ROUTE, queries.ERROR)
    return panels.rows(
        "Failed requests",
        "By route, status and exception, in the time range. **When a route is here with 5xx:** each of these "
        "requests may have dropped tasks; compare with *Tasks that never ran or were lost*.",
        Now(queries.at_most(50, queries.count(queries.REQUEST_ERRORS, by=by))),
        columns=[
            (queries.STATUS, "Status", [DynamicConfigValue("custom.width", 80)]),
            (queries.METHOD, "Method", [DynamicConfigValue("custom.width", 90)]),
            (queries.ROUTE, "Route", []),
            (queries.ERROR, "Error", []),
            ("Value", "Requests", [DynamicConfigValue("decimals", 0), DynamicConfigValue("custom.width", 110)]),
        ],
        order="Requests",
    )


def log_lines() -> Any:
    """Return the log lines of failed requests."""
    return panels.log_lines(
        "Lines of failed requests",
        "`request.failed`, once per failed request. **When there are lines:** open one; `trace_id` leads to the "
        "trace, which shows the tasks that the request took with it.",
        Lines(queries.REQUEST_LINES),
    )
