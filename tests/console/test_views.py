"""What each view shows of an application whose tasks have ended in every way."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.waiting import wait_until

from .browser import Visitor
from .conftest import Visit
from .serving import Site

BROKEN = "pictures.shrink"


def texts(page: Page, selector: str) -> list[str]:
    """Return the texts of all that match, in one line each."""
    return [" ".join(text.split()) for text in page.locator(selector).all_text_contents()]


def test_what_is_wrong_says_what_its_words_mean(visitor: Visitor):
    """Whoever reads the page for the first time finds how many causes there are, and each outcome in words."""
    page = visitor.page
    expect(page.locator(".cause-head")).to_have_text(re.compile(r"^\d+ causes, the most frequent first$"))
    expect(page.locator(".words")).to_contain_text("never ran: its request failed")


def test_causes_are_sentences(visitor: Visitor):
    """A cause says which task, how it ended, how often, in which request, why, and what to do."""
    [cause] = [text for text in texts(visitor.page, ".cause-text") if "dropped 4 ×" in text]
    assert cause.startswith(
        "audit.write D dropped 4 × in POST /orders/{number}/refund: the request raised TypeError"
    )
    assert "@task(run_on_request_error=True)" in cause
    assert re.search(r"first (.* ago|just now) · newest (.* ago|just now) · example [0-9a-f]{12}$", cause)


def test_the_most_frequent_cause_is_first(visitor: Visitor):
    """Causes come in the order of their counts."""
    counts = [int(text.strip("× ")) for text in texts(visitor.page, ".cause-count")]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 6


def test_the_verdict_counts_what_was_not_done(visitor: Visitor, site: Site):
    """The headline says how many tasks did not do their work, and the tally how each ended."""
    outcomes = site.ask("summary")["outcomes"]
    bad = sum(outcomes.values()) - outcomes["succeeded"]
    expect(visitor.page.locator("h1")).to_contain_text(f"{bad} of {sum(outcomes.values())} tasks in the last hour")
    expect(visitor.page.locator(".tally")).to_contain_text(f"{outcomes['dropped']} D dropped")


def test_checks_stand_beside_the_causes(visitor: Visitor, site: Site):
    """Whether the account balances, a task is stuck and threads are short stands beside, with a sign in words."""
    shown = texts(visitor.page, ".check")
    for check in site.ask("summary")["checks"]:
        assert any(check["detail"][1:-1] in text for text in shown), check
    assert visitor.page.get_by_label("good", exact=True).count() >= 1


def test_a_cause_leads_to_an_example(visitor: Visitor):
    """The example of a cause is one click away, and so are all of its runs."""
    page = visitor.page
    cause = page.locator(".cause", has_text="failed 2 × in POST /pictures")
    cause.get_by_role("link", name="example").click()
    expect(page.locator("h1")).to_contain_text(BROKEN)
    page.go_back()
    page.locator(".cause", has_text="failed 2 × in POST /pictures").get_by_role("link").first.click()
    expect(page.locator(".run-table tbody tr")).to_have_count(2)


def test_a_run_tells_everything(visitor: Visitor, site: Site):
    """A run's page has the traceback from the user's function on, its request's other runs, and its ids."""
    run = site.ask("runs", outcome="failed", task=BROKEN)["runs"][0]
    page = visitor.go(f"#/runs/{run['task_run']}")
    traceback = page.get_by_role("region", name="Traceback").inner_text()
    assert re.match(r'Traceback \(most recent call last\):\n  File ".*app\.py", line \d+, in shrink\n', traceback)
    assert traceback.rstrip().endswith("ValueError: cannot identify image file")
    assert texts(page, ".batch .lane-label") == ["Fpictures.shrink", "Kpictures.publish"]
    facts = dict(zip(texts(page, ".facts dt"), texts(page, ".facts dd"), strict=True))
    assert facts["run"].startswith(run["task_run"])
    assert facts["request"] == "POST /pictures"
    assert facts["request id"].startswith("visit-7")
    assert facts["error"] == "ValueError"


def test_the_beginning_of_an_id_is_enough(visitor: Visitor, site: Site):
    """A run is found by the first characters of its id."""
    run = site.ask("runs", outcome="failed", task=BROKEN)["runs"][0]
    page = visitor.go(f"#/runs/{run['task_run'][:12]}")
    expect(page.locator(".facts")).to_contain_text(run["task_run"])


def test_a_run_leads_to_its_trace(visitor: Visitor, site: Site):
    """The trace is a link by the template that tells the other site nothing; without a trace there is none."""
    run = site.ask("runs", outcome="failed", task=BROKEN)["runs"][0]
    answer = site.ask(f"runs/{run['task_run']}")
    page = visitor.go(f"#/runs/{run['task_run']}")
    link = page.get_by_role("link", name="Open its trace")
    expect(link).to_have_count(1 if answer.get("trace_url") else 0)
    if answer.get("trace_url"):
        assert link.get_attribute("href") == answer["trace_url"]
        assert link.get_attribute("rel") == "noopener noreferrer"


def test_a_run_that_is_not_there(visit: Visit):
    """An unknown id is answered in words, and with a way on."""
    visitor = visit()
    page = visitor.enter(f"#/runs/{'f' * 32}")
    expect(page.locator("h1")).to_have_text("No such run")
    expect(page.get_by_role("link", name="See the runs that are")).to_be_visible()
    visitor.forgive("404")


def test_ids_can_be_copied(visit: Visit, site: Site):
    """A button copies what it stands beside, and says so to everybody."""
    visitor = visit(permissions=["clipboard-read", "clipboard-write"])
    run = site.ask("runs", outcome="failed", task=BROKEN)["runs"][0]
    page = visitor.enter(f"#/runs/{run['task_run']}")
    for name, copied in (("Copy the id", run["task_run"]), ("Copy the address of this page", page.url)):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("status")).to_contain_text(name.replace("Copy", "Copied"))
        assert page.evaluate("navigator.clipboard.readText()") == copied
    page.get_by_role("button", name="Copy the exception").click()
    expect(page.get_by_role("status")).to_have_text("Copied the exception")
    assert "in shrink" in page.evaluate("navigator.clipboard.readText()")


def test_the_timeline_shows_a_request_and_its_tasks(visitor: Visitor):
    """A request has one line until its answer, and one for each of its tasks, told in words, too."""
    page = visitor.go("#/timeline")
    request = page.locator(".request-item", has_text="POST /pictures").first
    drawings = request.locator("svg.lane")
    labels: list[Any] = [drawing.get_attribute("aria-label") for drawing in drawings.all()]
    assert re.match(r"POST /pictures took .* to be answered", labels[0])
    assert re.match(r"pictures\.shrink failed, waited .*, ran ", labels[1])
    assert labels[2] == "pictures.publish skipped, never ran"
    assert request.locator("svg.lane text").all_text_contents()[-1] == "K"


def test_now_has_nothing_when_all_has_ended(visitor: Visitor, site: Site):
    """Where nothing is in flight, the page says so, and where the rest is."""
    wait_until(
        lambda: not site.ask("now")["processes"] or not any(p["runs"] for p in site.ask("now")["processes"])
    )
    page = visitor.go("#/now")
    expect(page.locator(".empty")).to_contain_text("Nothing is in flight.")


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_window(visit: Visit, site: Site, width: int):
    """No view has to be scrolled sideways, from a telephone to a wide screen."""
    visitor = visit(viewport={"width": width, "height": 900})
    visitor.enter()
    run = site.ask("runs", outcome="failed", task=BROKEN)["runs"][0]["task_run"]
    for fragment in ("#/", "#/tasks", "#/timeline", "#/timeline?scale=clock", "#/runs", f"#/runs/{run}", "#/now"):
        page = visitor.go(fragment)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, fragment
