"""For everybody: by keyboard alone, with a screen reader, in light and dark, without colours."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support import node

from .browser import VIEWS, Visitor
from .conftest import Visit
from .serving import Site

_SERIOUS = ("serious", "critical")


def findings(page: Page) -> list[str]:
    """Return what axe finds that is serious, each with an example."""
    axe = (node.node_environment("console", node.CONSOLE) / "node_modules/axe-core/axe.min.js").read_text()
    page.evaluate(axe)  # through the debugger, so the page's own policy stays in force
    result: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['nodes'][0]['html']} {one['nodes'][0].get('failureSummary')}"
        for one in result["violations"]
        if one["impact"] in _SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", [*VIEWS, "#/runs/{run}", "#/runs?outcome=failed", "#/runs?task=none"])
def test_axe_finds_nothing_serious(visit: Visit, site: Site, scheme: str, fragment: str):
    """No view has what axe calls serious or critical, contrast among it, in light and in dark."""
    visitor = visit(color_scheme=scheme)
    run = site.ask("runs", outcome="failed")["runs"][0]["task_run"]
    site.post("/reports")
    page = visitor.enter(fragment.format(run=run))
    visitor.live()
    assert findings(page) == []
    site.post("/reports/release")


def test_axe_finds_nothing_serious_at_the_door(visit: Visit):
    """Nor has the page that asks for the token."""
    visitor = visit()
    visitor.page.goto(visitor.console)
    expect(visitor.page.get_by_label("Token")).to_be_visible()
    assert findings(visitor.page) == []
    visitor.forgive("401")


def focused(page: Page) -> str:
    """Return the name of what has the focus."""
    return " ".join(
        str(page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent")).split()
    )


def tab_to(page: Page, name: str, most: int = 60) -> None:
    """Press the tabulator until something with this name has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if focused(page).startswith(name):
            return
    raise AssertionError(f"{name} was not reached; {focused(page)} has the focus")


def test_the_keyboard_is_enough(visitor: Visitor):
    """Without a mouse: skip the navigation, change the view, choose, sort, and open a run."""
    page = visitor.page
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    tab_to(page, "example")
    page.keyboard.press("Enter")
    expect(page.locator(".crumbs")).to_be_visible()
    expect(page.locator("h1")).to_be_focused()
    page = visitor.go("#/")
    tab_to(page, "Tasks")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Tasks")
    tab_to(page, "Per min")
    page.keyboard.press("Space")
    expect(page.get_by_role("columnheader", name="Per min")).to_have_attribute("aria-sort", "descending")
    assert focused(page).startswith("Per min")
    page = visitor.go("#/runs")
    tab_to(page, "D dropped")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="dropped", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".run-table tbody tr").first).to_contain_text("dropped")
    assert focused(page).startswith("D dropped")


def test_what_has_the_focus_can_be_seen(visitor: Visitor):
    """The focus has a ring, of a colour that is not the page's."""
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Tab")
    style = visitor.page.evaluate("getComputedStyle(document.activeElement).outline")
    assert "solid 2px" in style


def test_every_view_has_its_landmarks_and_title(visitor: Visitor):
    """A screen reader finds a header, a navigation with the place that one is at, the content, and a title."""
    for fragment, title in zip(VIEWS, ("What is wrong", "Tasks", "Timeline", "Runs", "Now"), strict=True):
        page = visitor.go(fragment)
        expect(page).to_have_title(f"{title} · Afterword")
        assert page.get_by_role("banner").count() == page.get_by_role("main").count() == 1
        assert (
            page.get_by_role("navigation").get_by_role("link", name=title).get_attribute("aria-current") == "page"
        )
        assert page.locator("h1").count() == 1


def background(page: Page) -> str:
    """Return the colour of the page."""
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_dark_is_the_systems_or_ones_own(visit: Visit):
    """The page follows the system; a choice of one's own wins, and lasts."""
    visitor = visit(color_scheme="dark")
    page = visitor.enter()
    dark = background(page)
    page.emulate_media(color_scheme="light")
    light = background(page)
    assert dark != light
    page.get_by_label("Colours").select_option("dark")
    assert background(page) == dark
    page.reload()
    visitor.shown()
    assert background(page) == dark
    expect(page.get_by_label("Colours")).to_have_value("dark")
    page.get_by_label("Colours").select_option("auto")
    assert background(page) == light


def test_outcomes_can_be_told_without_colour(visitor: Visitor):
    """In a drawing every outcome has a pattern or a letter of its own."""
    page = visitor.page
    drawn = page.locator("pattern").evaluate_all(
        "all => all.map((one) => [one.id, one.querySelector('path').getAttribute('d')])"
    )
    patterns = {name.removeprefix("paint-"): strokes for name, strokes in drawn}
    ended = ["succeeded", "failed", "cancelled", "skipped", "dropped", "abandoned", "lost"]
    assert len({patterns[outcome] for outcome in ended}) == len(ended)
    page = visitor.go("#/runs")
    letters = page.locator(".chip .swatch").all_text_contents()
    assert len(set(letters)) == len(letters) == len(ended)
