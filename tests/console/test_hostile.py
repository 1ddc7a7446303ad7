"""Names, routes, request ids and exceptions that are markup: they are shown as what they are, and do nothing."""

from __future__ import annotations

from playwright.sync_api import expect

from .browser import VIEWS, Visitor
from .hostile import SCRIPT
from .serving import Site


def test_markup_is_text(visitor: Visitor, site: Site):
    """On every view markup is text: nothing of it runs, becomes an element, or asks for anything."""
    [run] = site.ask("runs", error_type="RuntimeError")["runs"]
    for fragment in (*VIEWS, f"#/runs/{run['task_run']}"):
        page = visitor.go(fragment)
        visitor.live()
        assert page.evaluate("window.pwned") is None
        assert page.locator("main script, main img").count() == 0
        if fragment != "#/now":
            expect(page.locator("main")).to_contain_text("window.pwned = 1")
    expect(page.locator(".traceback")).to_contain_text(f"RuntimeError: {SCRIPT} is not {SCRIPT}")


def test_markup_in_the_address_is_text(visitor: Visitor):
    """A link that somebody sends can put nothing into the page but text."""
    page = visitor.go(f"#/tasks?q=no{SCRIPT}")
    expect(page.locator(".empty")).to_contain_text(f"No task is called like “no{SCRIPT}”.")
    for fragment in (
        f"#/runs?outcome={SCRIPT}",
        f"#/timeline?scale={SCRIPT}",
        f"#/{SCRIPT}",
        "#/runs?cursor=%E0%A4%A",
    ):
        page.goto(visitor.console + fragment)
        expect(page.locator("h1")).to_be_visible()
    page.goto(f"{visitor.console}#/runs/{SCRIPT}")
    expect(page.locator("h1")).to_have_text("No such run")
    assert page.evaluate("window.pwned") is None
    visitor.forgive("400")
    visitor.forgive("404")
