"""Writes the dashboards and the rules: ``python -m dashboards.build``; with ``--check`` it only compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from . import alerts, optional, overview, recording, task

HERE = Path(__file__).parent


def _json(build: Callable[[], Dashboard]) -> Callable[[], str]:
    def render() -> str:
        return json.dumps(build().build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    return render


FILES: dict[str, Callable[[], str]] = {
    "grafana/overview.json": _json(overview.build),
    "grafana/task.json": _json(task.build),
    "prometheus/recording.yml": recording.build,
    "prometheus/alerts.yml": alerts.build,
    "prometheus/optional.yml": optional.build,
}
"""What is written, and the text of it."""


def main(arguments: list[str]) -> int:
    """Write the files, or say which of them are not as they would be written."""
    stale = []
    for name, render in FILES.items():
        path, text = HERE / name, render()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    if stale and "--check" in arguments:
        print(f"not up to date: {', '.join(stale)}; run python -m dashboards.build", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
