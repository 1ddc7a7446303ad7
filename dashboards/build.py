"""Writes the dashboards: ``python -m dashboards.build``; with ``--check`` it only compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import overview, task

DIRECTORY = Path(__file__).parent / "grafana"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {"overview.json": overview.build, "task.json": task.build}


def render(build: Callable[[], Dashboard]) -> str:
    """Return a dashboard as the text of its file."""
    return json.dumps(build().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or say which of them are not as they would be written."""
    stale = []
    for name, build in DASHBOARDS.items():
        path, text = DIRECTORY / name, render(build)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            DIRECTORY.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    if stale and "--check" in arguments:
        print(f"not up to date: {', '.join(stale)}; run python -m dashboards.build", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
