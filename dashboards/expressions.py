"""Reads every expression back from the committed JSON: what the dashboards really ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parent / "grafana"


class Expression(NamedTuple):
    """One query of a dashboard."""

    dashboard: str
    """The dashboard's uid."""
    panel: str
    """The panel's title, or ``annotation: …``, or ``variable: …``."""
    ref_id: str
    expr: str
    legend: str
    language: str
    """``prometheus`` (PromQL), ``loki`` (LogQL) or ``tempo`` (TraceQL)."""
    instant: bool
    exemplars: bool


PLAUSIBLE = {
    "$__rate_interval": "1m",
    "$__range": "1h",
    "$__interval": "15s",
    "$job": ".+",
    "$instance": ".*",
    "$task": ".+",
    "$engine": ".*",
}
"""A value for every variable that occurs in an expression."""


def load() -> list[dict[str, Any]]:
    """Return the committed dashboards."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(DIRECTORY.glob("*.json"))]


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the panels of a dashboard, rows and the panels in them included."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> list[Expression]:
    """Return every expression of panels, annotations and variables."""
    return [expression for dashboard in load() for expression in _of(dashboard)]


def interpolate(expr: str, values: dict[str, str] = PLAUSIBLE) -> str:
    """Replace the variables as Grafana would; raises ``ValueError`` if one is unknown."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(name, values[name])
    if "$" in expr:
        raise ValueError(f"a variable is left: {expr}")
    return expr


def _of(dashboard: dict[str, Any]) -> Iterator[Expression]:
    uid = dashboard["uid"]
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            yield Expression(
                uid,
                panel["title"],
                target["refId"],
                target.get("expr") or target["query"],
                target.get("legendFormat", ""),
                target["datasource"]["type"],
                bool(target.get("instant")),
                bool(target.get("exemplar")),
            )
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            kind = annotation["datasource"]["type"]
            yield Expression(
                uid, f"annotation: {annotation['name']}", "A", annotation["expr"], "", kind, False, False
            )
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            expr = _inside_label_values(variable["query"]["query"])
            yield Expression(uid, f"variable: {variable['name']}", "A", expr, "", "prometheus", True, False)


def _inside_label_values(query: str) -> str:
    """Return the selector inside ``label_values(selector, label)``."""
    return query.removeprefix("label_values(").rpartition(",")[0]
