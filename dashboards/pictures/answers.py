"""Asks Prometheus what the panels of the dashboards ask, as Grafana would, and keeps the answers as JSON.

Grafana's variables have the values that *All* has. The step is the scrape interval, as it is in Grafana for a
range as short as this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import expressions
from ..prometheus.server import Prometheus

_RATE_INTERVALS = 4
"""``$__rate_interval`` is four scrape intervals, or the step and one."""


def variables(scrape: int, seconds: int, task: str | None) -> dict[str, str]:
    """Return what the variables of the dashboards stand for: all tasks, or one."""
    chosen = {} if task is None else {"$task": task}
    return (
        expressions.PLAUSIBLE
        | chosen
        | {
            "$__rate_interval": f"{_RATE_INTERVALS * scrape}s",
            "$__range": f"{seconds}s",
            "$__interval": f"{scrape}s",
        }
    )


def ask(
    prometheus: Prometheus,
    dashboard: Mapping[str, Any],
    *,
    end: int,
    seconds: int,
    scrape: int,
    task: str | None = None,
) -> Any:
    """Return everything that a dashboard shows of the seconds before ``end``: by panel, by query."""
    end -= end % scrape
    values = variables(scrape, seconds, task)
    moments = {"start": end - seconds, "end": end, "step": scrape}

    def over_time(expression: str) -> Any:
        return prometheus.api("query_range", query=expressions.interpolate(expression, values), **moments)

    def answer(target: Mapping[str, Any]) -> Any:
        if not target.get("instant"):
            return over_time(target["expr"])
        expression = expressions.interpolate(target["expr"], values)
        return prometheus.api("query", query=expression, time=end)

    def exemplars(target: Mapping[str, Any]) -> Any:
        expression = expressions.interpolate(target["expr"], values)
        return prometheus.api("query_exemplars", query=expression, start=end - seconds, end=end)

    panels = {}
    for panel in expressions.panels(dict(dashboard)):
        targets = [one for one in panel.get("targets", ()) if one["datasource"]["type"] == "prometheus"]
        panels[str(panel["id"])] = {
            "answers": {target["refId"]: answer(target) for target in targets},
            "exemplars": [one for target in targets if target.get("exemplar") for one in exemplars(target)],
        }
    annotations = [
        {"name": one["name"], "colour": one["iconColor"], "answer": over_time(one["expr"])}
        for one in dashboard["annotations"]["list"]
        if one.get("enable") and one["datasource"]["type"] == "prometheus" and "expr" in one
    ]
    return {
        "from": 1000 * (end - seconds),
        "to": 1000 * end,
        "interval": 1000 * scrape,
        "panels": panels,
        "annotations": annotations,
    }
