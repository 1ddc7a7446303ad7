"""What was found wrong when the dashboards were looked at (``make pictures``) stays mended."""

from __future__ import annotations

import re

import pytest

from dashboards import colours, names
from dashboards.parts import COUNT

from .test_grafana_json import DASHBOARDS, each_dashboard, each_panel

_NARROW = 1264
"""Pixels inside of a panel that is as wide as a window of 1280."""
_GAP, _ROW = 8, 38
_BAR = 30 + 10
_HEADER = 55
_LONG = "depot.services.catalogue.tasks.recompute_totals_of_open_orders skipped"


def fields(panel):
    """Return what a panel says of all its fields."""
    return panel["fieldConfig"]["defaults"] if "fieldConfig" in panel else {}


def overrides(panel):
    """Return what a panel says of single fields: by name or pattern, the properties."""
    found = {}
    for rule in panel.get("fieldConfig", {}).get("overrides", ()):
        properties = found.setdefault(rule["matcher"]["options"], {})
        properties.update({one["id"]: one.get("value") for one in rule["properties"]})
    return found


def legends(panel):
    """Return the legends of a panel's queries."""
    return [target.get("legendFormat", "") for target in panel["targets"]]


@each_panel
def test_counts_have_all_their_digits(panel):
    """No number is rounded to thousands, and a count has no fractions."""
    units = [fields(panel).get("unit"), *(one.get("unit") for one in overrides(panel).values())]
    assert not {"short", "ops"} & set(units)
    if COUNT in units:
        assert fields(panel)["decimals"] == 0


@each_panel
def test_outcomes_have_their_colours(panel):
    """A series that is named after an outcome has its colour, be it the whole name or its end."""
    colour = {name: one["color"]["fixedColor"] for name, one in overrides(panel).items() if "color" in one}
    legend = f"{{{{{names.OUTCOME}}}}}"
    for text in legends(panel):
        if text == legend:
            assert all(colour[outcome] == one for outcome, one in colours.OUTCOMES.items())
        elif text.endswith(legend):
            assert all(colour[f"/ {outcome}$/"] == colours.OUTCOMES[outcome] for outcome in names.UNDONE)
        elif text in colours.OUTCOMES and panel["type"] == "timeseries":
            assert colour[text] == colours.OUTCOMES[text]


@each_panel
def test_statuses_have_their_colours(panel):
    """What failed with a 5xx is red, and what a client did wrong is not."""
    if any(text.startswith(f"{{{{{names.STATUS}}}}}") for text in legends(panel)):
        found = {name: one["color"]["fixedColor"] for name, one in overrides(panel).items()}
        assert found == {"/^5.. /": "red", "/^4.. /": "yellow"}


@each_panel
def test_colours_are_the_same_in_both_themes(panel):
    """No colour comes from a palette from which a theme leaves something out."""
    assert fields(panel).get("color", {}).get("mode") != "palette-classic-by-name"


@each_panel
def test_numbers_have_no_line_across_them(panel):
    """A big number has no history behind it."""
    if panel["type"] == "stat":
        assert panel["options"]["graphMode"] == "none"
        assert fields(panel)["min"] == 0


@each_panel
def test_what_nobody_measured_is_not_shown_as_measured(panel):
    """A quantile in a histogram's first bucket is said to be at most its bound."""
    queries = [target.get("expr", "") for target in panel["targets"]]
    if any("histogram_quantile" in query for query in queries):
        assert all(f", {names.FIRST_BOUND}) >= 0" in one for one in queries if "histogram_quantile" in one)
        mapped = [fields(panel), *overrides(panel).values()]
        texts = [m["options"]["result"]["text"] for one in mapped for m in one.get("mappings") or ()]
        assert f"≤ {1000 * names.FIRST_BOUND:g} ms" in texts


@each_panel
def test_bars_can_be_read(panel):
    """All bars of a query fit into their panel with name and value."""
    if panel["type"] == "bargauge":
        assert panel["options"]["minVizHeight"] >= 30
        (most, *_) = (int(n) for t in panel["targets"] for n in re.findall(r"topk\((\d+),", t["expr"]))
        assert most * _BAR - 10 <= panel["gridPos"]["h"] * _ROW - _GAP - _HEADER


@each_panel
def test_long_names_show_their_ends(panel):
    """Where names of tasks are, a long one loses its front, at a dot, and a short one nothing."""
    if panel["type"] not in ("timeseries", "bargauge"):
        return
    (rename,) = (one["options"] for one in panel["transformations"] if one["id"] == "renameByRegex")
    shown = re.sub(rename["regex"], rename["renamePattern"].replace("$1", r"\1"), _LONG)
    assert re.fullmatch(r"…[a-z_.]*recompute_totals_of_open_orders skipped|.{1,46}", shown) or shown == _LONG
    assert re.sub(rename["regex"], "", "examples.shop.tasks.notify") == "examples.shop.tasks.notify"


@each_dashboard
def test_tables_fit_into_a_narrow_window(uid):
    """In a window of 1280 pixels, every column of the tables is in sight, and the names have room."""
    for panel in DASHBOARDS[uid]["panels"]:
        if panel["type"] == "table" and panel["datasource"]["type"] == "prometheus":
            numbers = sum(one.get("custom.width", 0) for one in overrides(panel).values())
            assert _NARROW * panel["gridPos"]["w"] / 24 - numbers >= 220, panel["title"]


@each_panel
def test_an_empty_table_says_so(panel):
    """A table without rows says that there were none."""
    if panel["type"] == "table":
        assert fields(panel)["noValue"].startswith("none")


@each_dashboard
def test_only_rare_marks_are_on(uid):
    """What may happen at every moment does not tint the graphs unless somebody asks for it."""
    marks = {one["name"]: one["enable"] for one in DASHBOARDS[uid]["annotations"]["list"] if "expr" in one}
    assert [name for name, enabled in marks.items() if enabled] == ["process started"]


@each_panel
def test_legends_say_what_they_are(panel):
    """No legend is a bare version."""
    assert f"{{{{{names.VERSION}}}}}" not in legends(panel)


@pytest.mark.parametrize("outcome", [*names.Outcome, names.OUTCOME_LOST])
def test_every_outcome_has_a_colour_of_its_own(outcome):
    """No two outcomes look alike."""
    alone = {name: one for name, one in colours.OUTCOMES.items() if name != names.UNDONE_TOGETHER}
    assert list(alone.values()).count(alone[outcome]) == 1
