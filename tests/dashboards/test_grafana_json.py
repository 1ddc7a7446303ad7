"""The committed dashboards keep the rules of their own."""

from __future__ import annotations

import re
from itertools import combinations, takewhile
from typing import Any

import pytest

from dashboards import expressions, queues

DASHBOARDS = {dashboard["uid"]: dashboard for dashboard in expressions.load()}
EVERY_PANEL = [
    pytest.param(panel, id=f"{uid}-{panel['id']}-{panel['title']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in expressions.panels(dashboard)
    if panel["type"] != "row"
]

each_dashboard = pytest.mark.parametrize("uid", sorted(DASHBOARDS))
each_panel = pytest.mark.parametrize("panel", EVERY_PANEL)


def test_uids():
    """The dashboards have the uids that alerts and links lead to."""
    assert set(DASHBOARDS) == {"afterword-overview", "afterword-task"}


@each_dashboard
def test_panel_ids_are_unique(uid):
    """No two panels of a dashboard have the same id."""
    ids = [panel["id"] for panel in expressions.panels(DASHBOARDS[uid])]
    assert len(ids) == len(set(ids))


@each_dashboard
def test_titles_are_unique(uid):
    """No two panels of a dashboard have the same title."""
    titles = [panel["title"] for panel in expressions.panels(DASHBOARDS[uid])]
    assert len(titles) == len(set(titles))


@each_dashboard
def test_grid_has_no_overlap(uid):
    """No panel lies on another one, none is wider than the grid, and no line has a gap."""
    places = [panel["gridPos"] for panel in expressions.panels(DASHBOARDS[uid])]
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        beneath = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or beneath, (one, other)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert sum(place["w"] * place["h"] for place in places) == 24 * max(p["y"] + p["h"] for p in places)


@each_dashboard
def test_red_number_is_at_the_top_left(uid):
    """The tasks that never ran or were lost are the first thing to see, and red as soon as there is one."""
    first = min(expressions.panels(DASHBOARDS[uid]), key=lambda p: (p["gridPos"]["y"], p["gridPos"]["x"]))
    assert first["title"] == "Tasks that never ran or were lost"
    assert first["options"]["colorMode"] == "background_solid"
    assert [step["color"] for step in first["fieldConfig"]["defaults"]["thresholds"]["steps"]] == ["green", "red"]


@each_dashboard
def test_variables(uid):
    """The data sources can be chosen; and the job, instance, engine and task, several at once."""
    variables = {variable["name"]: variable for variable in DASHBOARDS[uid]["templating"]["list"]}
    assert list(variables) == ["prometheus", "loki", "tempo", "job", "instance", "engine", "task"]
    assert all(variables[kind]["query"] == kind for kind in ("prometheus", "loki", "tempo"))
    assert all(variables[name]["multi"] for name in ("job", "instance", "engine", "task"))
    assert variables["engine"]["allValue"] == ".*", "what names no engine is shown, too"


@each_panel
def test_says_what_to_do(panel):
    """Every panel has a description, which says what to do when it does not look right."""
    assert re.search(r"\*\*(When|If) [^*]+:\*\*", panel["description"]), panel["description"]


@each_panel
def test_has_a_unit(panel):
    """Every panel with numbers has a unit; a table has one where the number is no mere count."""
    if panel["type"] in ("stat", "timeseries", "bargauge"):
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "heatmap":
        assert panel["options"]["yAxis"]["unit"] == "s"


@each_panel
def test_data_sources_are_variables(panel):
    """No panel and no query is bound to one data source."""
    for where in (panel, *panel["targets"]):
        source = where["datasource"]
        assert source["uid"] == f"${{{source['type']}}}"


@each_panel
def test_query_letters_are_unique(panel):
    """No two queries of a panel have the same letter."""
    letters = [target["refId"] for target in panel["targets"]]
    assert len(letters) == len(set(letters))


def urls(node: Any) -> list[str]:
    """Return every address below a node."""
    if isinstance(node, dict):
        own = [node["url"]] if isinstance(node.get("url"), str) else []
        return own + [url for value in node.values() for url in urls(value)]
    return [url for value in node for url in urls(value)] if isinstance(node, list) else []


@each_dashboard
def test_links_lead_somewhere(uid):
    """Every link leads to a dashboard that exists, and to a panel that it has."""
    found = urls(DASHBOARDS[uid])
    assert found
    for url in found:
        target = re.match(r"/d/([a-z-]+)\?", url)
        assert target, url
        assert target[1] in DASHBOARDS
        view = re.search(r"viewPanel=(\d+)", url)
        if view:
            ids = {panel["id"] for panel in expressions.panels(DASHBOARDS[target[1]])}
            assert int(view[1]) in ids, url


@each_dashboard
def test_three_signals(uid):
    """Each dashboard has metrics with exemplars, log lines and traces."""
    found = [expression for expression in expressions.expressions() if expression.dashboard == uid]
    assert {expression.language for expression in found} == {"prometheus", "loki", "tempo"}
    assert any(expression.exemplars for expression in found)


def test_heatmap_has_exemplars():
    """The heatmap of the duration shows exemplars."""
    (heatmap,) = (p for p in expressions.panels(DASHBOARDS["afterword-task"]) if p["type"] == "heatmap")
    assert heatmap["targets"][0]["exemplar"] is True
    assert heatmap["targets"][0]["format"] == "heatmap"


@each_dashboard
def test_no_pies(uid):
    """There are no pie charts."""
    assert "piechart" not in {panel["type"] for panel in expressions.panels(DASHBOARDS[uid])}


@each_dashboard
def test_outcome_annotations(uid):
    """What failed, was cancelled, never ran or was lost is marked on the graphs, and so are restarts."""
    found = {annotation["name"] for annotation in DASHBOARDS[uid]["annotations"]["list"]}
    assert {"never ran or lost", "failed", "cancelled", "process started"} <= found


@each_dashboard
def test_without_celery(uid):
    """The panels of Celery are in a section of their own, and each says that it may be empty."""
    panels = list(expressions.panels(DASHBOARDS[uid]))
    start = next(number for number, panel in enumerate(panels) if panel["title"] == queues.TITLE)
    section = list(takewhile(lambda panel: panel["type"] != "row", panels[start + 1 :]))
    assert {"In the queue", "Oldest in the queue", "Returned", "Worker lost"} <= {one["title"] for one in section}
    for panel in section:
        assert "**If there is no Celery:**" in panel["description"]
        assert panel["fieldConfig"]["defaults"]["noValue"]
