"""Makes the pictures: ``make pictures``, or ``python -m dashboards.pictures --help``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from .. import expressions
from ..parts import OVERVIEW_UID, TASK_UID
from ..prometheus.server import Prometheus, configuration
from .answers import ask
from .draw import BUILD, ROOT, SCALE, bundle, check_types, chromium, draw, install
from .png import write
from .scenes import END, SCENES, SCRAPE, play

IMAGES = ROOT / "docs" / "images"
_BOARDS = {"overview": OVERVIEW_UID, "task": TASK_UID}
_DOCUMENTED = {"overview-dark": 28, "overview-light": 28, "task-dark": 28}
"""The pictures of the documentation, and how many rows of the grid each shows."""
_WIDTH = 1280
_EVERYTHING = 999
_QUIET = 10
"""Seconds of the pictures before the first visit."""


def _ask(scene: str, seconds: int) -> None:
    """Ask a Prometheus with what it has seen of a scene, and keep its answers."""
    directory = BUILD / "scenes" / scene
    end = int((directory / END).read_text())
    with Prometheus(directory, configuration({})) as prometheus:
        for dashboard in expressions.load():
            task = SCENES[scene].task if dashboard["uid"] == TASK_UID else None
            given = ask(prometheus, dashboard, end=end, seconds=seconds + _QUIET, scrape=SCRAPE, task=task)
            (directory / f"{dashboard['uid']}.json").write_text(json.dumps(given), encoding="utf-8")


def _wanted(scene: str, board: str, theme: str, width: int, rows: int = _EVERYTHING) -> dict[str, Any]:
    """Return what ``page/answers.ts`` describes."""
    uid = _BOARDS[board]
    (dashboard,) = (one for one in expressions.load() if one["uid"] == uid)
    answers = json.loads((BUILD / "scenes" / scene / f"{uid}.json").read_text())
    chosen = {"prometheus": "Prometheus", "loki": "Loki", "tempo": "Tempo"}
    if board == "task":
        chosen["task"] = SCENES[scene].task
    return {
        "dashboard": dashboard,
        "answers": answers,
        "theme": theme,
        "width": width,
        "rows": rows,
        "chosen": chosen,
    }


def _document() -> None:
    with chromium() as browser:
        for name, rows in _DOCUMENTED.items():
            board, _, theme = name.partition("-")
            png = draw(browser, _wanted("shop", board, theme, _WIDTH, rows), SCALE)
            print(write(png, IMAGES / f"grafana-{name}.png"), flush=True)


def _look(scenes: list[str], widths: list[int]) -> None:
    with chromium() as browser:
        for scene in scenes:
            for board in _BOARDS:
                for theme in ("dark", "light"):
                    for width in widths:
                        path = BUILD / "look" / f"{scene}-{board}-{theme}-{width}.png"
                        print(write(draw(browser, _wanted(scene, board, theme, width), 1), path), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.pictures", description="Pictures of the dashboards."
    )
    parser.add_argument("--scenes", nargs="*", choices=sorted(SCENES), default=["shop"])
    parser.add_argument(
        "--seconds", type=int, default=300, help="how long a scene is played (default: %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="of what was played before")
    parser.add_argument(
        "--look",
        type=int,
        nargs="+",
        metavar="WIDTH",
        help=f"whole dashboards, so many pixels wide, into {BUILD.relative_to(ROOT)}/look",
    )
    return parser.parse_args()


def main() -> int:
    """Play, ask, and draw."""
    arguments = _arguments()
    try:
        install()
        check_types()
        bundle()
        for scene in arguments.scenes:
            if not arguments.again:
                play(scene, BUILD / "scenes" / scene, arguments.seconds)
            _ask(scene, arguments.seconds)
        if arguments.look:
            _look(arguments.scenes, arguments.look)
        else:
            _document()
    except (RuntimeError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
