"""What ``make pictures`` needs holds without npm, a browser or Prometheus."""

from __future__ import annotations

import io
import json
import re

import pytest
from PIL import Image

from dashboards import expressions
from dashboards.pictures.answers import variables
from dashboards.pictures.draw import PAGE
from dashboards.pictures.png import write
from dashboards.pictures.scenes import SCENES

from .test_grafana_json import each_panel

_PANELS = (PAGE / "panels.tsx").read_text(encoding="utf-8")
_REGISTRIES = (PAGE / "registries.ts").read_text(encoding="utf-8")


@each_panel
def test_every_panel_can_be_drawn(panel):
    """The page has a component for each type of panel."""
    drawn = re.search(r"export const PANELS.*?\n};", _PANELS, re.DOTALL)
    assert drawn
    assert panel["type"] in re.findall(r"^  (\w+):", drawn[0], re.MULTILINE)


@each_panel
def test_every_property_is_registered(panel):
    """The page registers each property that a panel sets: Grafana drops any other, and says nothing."""
    (known,) = re.findall(r"const STANDARD = \[(.*?)\];", _REGISTRIES)
    config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
    used = {one["id"] for rule in config["overrides"] for one in rule["properties"]} | set(config["defaults"])
    assert {name for name in used if not name.startswith("custom")} <= set(re.findall(r'"(\w+)"', known))


@pytest.mark.parametrize("task", [None, *(scene.task for scene in SCENES.values())])
def test_every_expression_can_be_asked(task):
    """No variable of Grafana's is left in what Prometheus is asked, and the task is the one that was chosen."""
    values = variables(5, 300, task)
    asked = [expressions.interpolate(one.expr, values) for one in expressions.expressions()]
    assert task is None or any(f'=~"{task}"' in expression for expression in asked)
    assert any("[20s]" in expression for expression in asked), "the rate interval is four scrapes"


def test_versions_are_exact():
    """Whoever makes the pictures has the same packages."""
    wanted = json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())


def test_pictures_are_small(tmp_path):
    """A picture has at most 256 colours, and only so much of its height as is wanted."""
    screenshot = io.BytesIO()
    Image.effect_noise((200, 100), 90).convert("RGB").save(screenshot, "PNG")
    write(screenshot.getvalue(), tmp_path / "picture.png", height=60)
    with Image.open(tmp_path / "picture.png") as picture:
        assert (picture.mode, picture.size) == ("P", (200, 60))
