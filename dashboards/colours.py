"""One palette, the same on every panel and in both themes: what has an outcome has that outcome's colour."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders.dashboard import FieldColor
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, FieldColorModeId

from .names import OUTCOME_LOST, STATE_PENDING, STATE_RUNNING, UNDONE, UNDONE_TOGETHER, Outcome, Reason

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "#8e8e8e"
PURPLE, DARK_RED = "purple", "dark-red"

OUTCOMES: dict[str, str] = {
    Outcome.SUCCEEDED: GREEN,
    Outcome.FAILED: RED,
    Outcome.CANCELLED: ORANGE,
    Outcome.SKIPPED: "light-purple",
    Outcome.DROPPED: PURPLE,
    Outcome.ABANDONED: "dark-purple",
    OUTCOME_LOST: DARK_RED,
    UNDONE_TOGETHER: PURPLE,
}
STATES = {STATE_PENDING: GREY, STATE_RUNNING: BLUE}
REASONS: dict[str, str] = {Reason.WORKER_LOST: DARK_RED, Reason.TAKEN_AWAY: "dark-orange", Reason.RETRY: YELLOW}
THREADS = {"busy": BLUE, "waiting": YELLOW, "limit": "text"}
QUANTILES = {"p50": "dark-blue", "p95": "light-blue", "p99": YELLOW}
_STATUSES = {"5..": RED, "4..": YELLOW}


def fixed(colour: str) -> DynamicConfigValue:
    """Give a series its colour."""
    return DynamicConfigValue("color", {"mode": FieldColorModeId.FIXED, "fixedColor": colour})


def shaded(colour: str) -> DynamicConfigValue:
    """Give each of several series a shade of a colour."""
    return DynamicConfigValue("color", {"mode": FieldColorModeId.SHADES, "fixedColor": colour})


def only(colour: str) -> FieldColor:
    """Give all series of a panel one colour."""
    return FieldColor().mode(FieldColorModeId.FIXED).fixed_color(colour)


def shades_of(colour: str) -> FieldColor:
    """Give each series of a panel a shade of one colour."""
    return FieldColor().mode(FieldColorModeId.SHADES).fixed_color(colour)


def by_name(panel: Any, colours: dict[str, str]) -> Any:
    """Give the series with these names their colours."""
    for name, colour in colours.items():
        panel = panel.override_by_name(name, [fixed(colour)])
    return panel


def by_task_and_outcome(panel: Any, *, shades: bool) -> Any:
    """Give the series whose names end with an outcome its colour, or ``shades`` of it to tell tasks apart."""
    for outcome in UNDONE:
        colour = OUTCOMES[outcome]
        panel = panel.override_by_regexp(f"/ {outcome}$/", [shaded(colour) if shades else fixed(colour)])
    return panel


def by_quantile(panel: Any) -> Any:
    """Give the series whose names end with a quantile shades of its colour."""
    for name, colour in QUANTILES.items():
        panel = panel.override_by_regexp(f"/(^| ){name}$/", [shaded(colour)])
    return panel


def by_status(panel: Any) -> Any:
    """Give the series whose names begin with an HTTP status shades of red, or of yellow where a client erred."""
    for status, colour in _STATUSES.items():
        panel = panel.override_by_regexp(f"/^{status} /", [shaded(colour)])
    return panel
