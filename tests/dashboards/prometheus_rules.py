"""The committed rules, and how a test shortens their durations."""

import re
from pathlib import Path
from typing import Any

import yaml

from dashboards.prometheus.server import HERE, OPTIONAL_RULES, RULES

ALL_RULES = (*RULES, *OPTIONAL_RULES)
RUNBOOK = HERE.parent / "RUNBOOK.md"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=offset )(\d+)([smhd])|(?<=for: )(\d+)([smhd])")
_THRESHOLD = re.compile(r"(\d+)(?= # seconds)")


def load(path: Path) -> list[dict[str, Any]]:
    """Return the rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the committed alerts by name, those that are off by default included."""
    return {rule["alert"]: rule for path in ALL_RULES for rule in load(path) if "alert" in rule}


def shorten(rules: str, factor: float, least_threshold: float) -> str:
    """Divide the durations in a text of rules: ranges, offsets, ``for`` and what is marked as ``# seconds``.

    A marked threshold is never less than so many seconds, since the work that it judges is not shortened.
    """

    def duration(found: re.Match[str]) -> str:
        number, unit = (group for group in found.groups() if group)
        return f"{int(number) * _SECONDS[unit] * 1000 / factor:.0f}ms"

    def threshold(found: re.Match[str]) -> str:
        return str(max(int(found[1]) / factor, least_threshold))

    return _THRESHOLD.sub(threshold, _DURATION.sub(duration, rules))


def write_shortened(directory: Path, factor: float, least_threshold: float) -> list[Path]:
    """Write shortened copies of the committed rules and return where."""
    copies = []
    for path in ALL_RULES:
        copy = directory / path.name
        copy.write_text(shorten(path.read_text(), factor, least_threshold))
        copies.append(copy)
    return copies
