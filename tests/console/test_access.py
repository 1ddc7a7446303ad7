"""The door: the token, where it goes, and what is shown to whom has none."""

from __future__ import annotations

from playwright.sync_api import expect

from .browser import PATIENCE, Visitor
from .conftest import Visit
from .serving import TOKEN

CLOSED = "This console needs its token"


def test_without_a_token_the_page_asks_for_it(visit: Visit):
    """Nothing is shown but a field, and where the token is found; nothing is heard of, either."""
    visitor = visit()
    page = visitor.page
    page.goto(visitor.console)
    expect(page.locator("h1")).to_have_text(CLOSED)
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.locator("main")).to_contain_text("The application logs an address that has it")
    assert "events" not in visitor.asked
    expect(page.get_by_role("navigation")).to_have_count(0)
    visitor.forgive("401")


def test_a_wrong_token_is_refused_in_words(visit: Visit):
    """What is wrong is said beside the field, to a screen reader, too; then the right one opens."""
    visitor = visit()
    page = visitor.page
    page.goto(visitor.console + "#/tasks")
    for wrong in ("wrong", "schlüssel ☃"):
        page.get_by_label("Token").fill(wrong)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert").filter(visible=True)).not_to_be_empty()
        expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill(f" {TOKEN} ")
    page.get_by_label("Token").press("Enter")
    expect(page.locator("h1")).to_have_text("Tasks", timeout=PATIENCE)
    visitor.live()
    visitor.forgive("401")


def test_the_logged_address_opens_and_its_token_is_gone(visit: Visit):
    """The token of the address is traded for a cookie that no script can read, and stays in no history."""
    visitor = visit()
    page = visitor.page
    page.goto(f"{visitor.console}#token={TOKEN}")
    expect(page.locator("h1")).to_contain_text("in the last hour")
    assert visitor.fragment() == "#/"
    assert TOKEN not in page.evaluate("JSON.stringify([location.href, document.cookie, {...localStorage}])")
    [cookie] = visitor.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert TOKEN not in cookie["value"]
    assert not any(TOKEN in one for one in visitor.asked)
    visitor.forgive("401")


def test_a_wrong_token_in_the_address_is_refused(visit: Visit):
    """An address with an old token leads to the field."""
    visitor = visit()
    visitor.page.goto(f"{visitor.console}#token=old-old-old-old-old")
    expect(visitor.page.locator("h1")).to_have_text(CLOSED)
    assert visitor.fragment() == "#/"
    visitor.forgive("401")


def test_a_page_that_is_open_takes_a_token(visit: Visit):
    """Who pastes the logged address into the closed page's own tab is let in: only the fragment changes."""
    visitor: Visitor = visit()
    visitor.page.goto(visitor.console)
    expect(visitor.page.locator("h1")).to_have_text(CLOSED)
    visitor.page.evaluate("(token) => { location.hash = `token=${token}` }", TOKEN)
    expect(visitor.page.locator("h1")).to_contain_text("in the last hour")
    visitor.forgive("401")
