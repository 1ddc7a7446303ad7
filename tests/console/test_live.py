"""What happens on the page while things happen in the application."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.waiting import wait_until

from .browser import Visitor
from .conftest import Visit
from .serving import Site

ROWS = ".run-table tbody tr"
_HIDE = """(hidden) => {
    Object.defineProperty(document, 'hidden', {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def alone(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Provide an application that the test starts and ends itself."""
    return Site(tmp_path_factory.mktemp("alone"))


@pytest.fixture
def watcher(browser: Browser, alone: Site) -> Iterator[Visitor]:
    """Provide a visitor of it, who may see it go away."""
    visitor = Visitor(browser, alone.console)
    yield visitor
    visitor.context.close()
    assert [one for one in visitor.complaints if "Failed to load resource" not in one] == []


def test_a_run_appears_by_itself(visitor: Visitor, site: Site):
    """What has just ended is listed first, without the list being asked for anew."""
    page = visitor.go("#/runs?outcome=failed")
    visitor.live()
    asked = len([one for one in visitor.asked if one.startswith("runs")])
    before = page.locator(ROWS).count()
    site.post("/pictures")
    expect(page.locator(ROWS)).to_have_count(before + 1)
    site.post("/orders/1")
    site.post("/pictures")
    expect(page.locator(ROWS)).to_have_count(before + 2)
    assert len([one for one in visitor.asked if one.startswith("runs")]) == asked


def test_a_cause_counts_by_itself(visitor: Visitor, site: Site):
    """A known cause counts on, and its example becomes the newest, without the causes being asked for anew."""
    page = visitor.page
    visitor.live()
    cause = page.locator(".cause", has_text="in POST /orders/{number}/refund")
    before = int(str(cause.locator(".cause-count b").text_content()))
    example = cause.get_by_role("link", name="example").get_attribute("href")
    asked = len([one for one in visitor.asked if one.startswith("summary")])
    site.post("/orders/1/refund", times=2)
    expect(cause.locator(".cause-count b")).to_have_text(str(before + 2))
    expect(cause.get_by_role("link", name="example")).not_to_have_attribute("href", str(example))
    assert len([one for one in visitor.asked if one.startswith("summary")]) == asked


def test_many_causes_are_shown_when_asked_for(visitor: Visitor, site: Site):
    """Of many causes the most frequent are shown, how many more there are, and all of them on demand."""
    for number in range(25):
        site.post(f"/errors/{number}")
    wait_until(lambda: site.ask("causes")["total"] >= 25)
    page = visitor.go("#/")
    total = site.ask("causes")["total"]
    expect(page.locator(".cause")).to_have_count(20)
    expect(page.locator(".more")).to_contain_text(f"{total - 20} more causes.")
    page.get_by_role("link", name="Show them").click()
    expect(page.locator(".cause")).to_have_count(total)


def test_a_task_counts_by_itself(visitor: Visitor, site: Site):
    """A row of the tasks counts on."""
    page = visitor.go("#/tasks")
    visitor.live()
    total = page.locator('tr[data-key="audit.write"] .of-total b')
    before = int(str(total.text_content()))
    site.post("/orders/1")
    expect(total).to_have_text(str(before + 1))


def test_an_old_answer_is_caught_up(visitor: Visitor, site: Site):
    """Where the server's answer is older than what was heard meanwhile, the page asks again by itself."""
    page = visitor.go("#/tasks")
    visitor.live()
    old = site.ask("tasks")
    total = page.locator('tr[data-key="audit.write"] .of-total b')
    before = int(str(total.text_content()))
    site.post("/orders/1")
    expect(total).to_have_text(str(before + 1))
    visitor.context.route("**/api/tasks*", lambda route: route.fulfill(json=old), times=1)
    page.get_by_label("Name").fill("audit")
    expect(total).to_have_text(str(before))
    expect(total).to_have_text(str(before + 1))


def test_a_request_appears_on_the_timeline(visitor: Visitor, site: Site):
    """A new request is drawn with its tasks."""
    page = visitor.go("#/timeline?task=pictures.publish")
    visitor.live()
    before = page.locator(".request-item").count()
    site.post("/pictures")
    expect(page.locator(".request-item")).to_have_count(before + 1)


def test_what_is_read_stays_where_it_is(visitor: Visitor, site: Site):
    """While somebody is in the list, new runs wait behind a button, and the focus stays."""
    page = visitor.go("#/runs?outcome=failed")
    visitor.live()
    before = page.locator(ROWS).count()
    page.locator(f"{ROWS} a").first.focus()
    address = page.evaluate("document.activeElement.href")
    site.post("/pictures")
    button = page.get_by_role("button", name="Show 1 newer")
    expect(button).to_be_visible()
    assert page.evaluate("document.activeElement.href") == address
    assert page.locator(ROWS).count() == before
    button.click()
    expect(page.locator(ROWS)).to_have_count(before + 1)


def test_the_focus_stays_while_things_change(visitor: Visitor, site: Site):
    """While somebody is in the list of causes, their order and the focus stay; after that the order is right."""
    page = visitor.go("#/?all=1")
    visitor.live()
    causes = page.locator(".cause")
    cause = page.locator(".cause", has_text="in POST /forgotten")
    place = page.locator(".cause").all_text_contents().index(str(cause.text_content()))
    cause.get_by_role("link", name="example").focus()
    most = int(str(causes.first.locator(".cause-count b").text_content()))
    site.post("/forgotten", times=most + 1)
    expect(cause.locator(".cause-count b")).to_have_text(re.compile(str(most + 2)))
    expect(causes.nth(place)).to_contain_text("in POST /forgotten")
    assert page.evaluate("document.activeElement.closest('.cause').textContent").count("/forgotten") == 1
    assert place > 0
    page.locator("h1").focus()
    site.post("/forgotten")
    expect(causes.first).to_contain_text("in POST /forgotten")


def test_what_is_typed_stays_while_things_change(visitor: Visitor, site: Site):
    """An update leaves alone what somebody is typing."""
    page = visitor.go("#/tasks")
    visitor.live()
    total = page.locator('tr[data-key="audit.write"] .of-total b')
    page.get_by_label("Name").press_sequentially("audit")
    before = int(str(total.text_content()))
    site.post("/orders/1")
    expect(total).to_have_text(str(before + 1))
    expect(page.get_by_label("Name")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value("audit")


def test_what_runs_ticks_and_ends(visitor: Visitor, site: Site):
    """A running task appears, its age goes on, and it goes when it has ended; the navigation counts along."""
    page = visitor.go("#/now")
    visitor.live()
    pid = site.post("/reports")
    item = page.locator(".flight-item", has_text="report.build")
    expect(item).to_contain_text("running")
    expect(page.locator(".process")).to_contain_text(f"Process {pid}")
    expect(page.locator(".in-flight")).to_have_text("1")
    expect(item.locator(".flight-age")).to_have_text(re.compile(r"^[1-9]"))
    site.post("/reports/release")
    expect(item).to_have_count(0)
    expect(page.locator(".in-flight")).to_have_text("")


def test_the_clock_of_the_dead_stands_still(visit: Visit):
    """What a dead process held is called lost and grows no older, while what runs does."""
    begun, now = "2026-01-01T11:59:00+00:00", "2026-01-01T12:00:00+00:00"
    run = {"task_run": "a" * 32, "task": "living", "state": "running", "scheduled_at": begun, "started_at": begun}
    lost = run | {"task_run": "b" * 32, "task": "dead", "state": "lost", "alive": False, "age_s": 7.5}
    living = {"pid": 1, "process": "one", "alive": True, "runs": [run]}
    dead = {"pid": 2, "process": "two", "alive": False, "seen_at": begun, "runs": [lost]}
    visitor = visit()  # both at once are there for a moment only, until somebody closes the account of the dead
    visitor.context.route(
        "**/api/now*", lambda route: route.fulfill(json={"now": now, "processes": [living, dead]})
    )
    visitor.page.clock.install()
    page = visitor.enter("#/now")
    ages = page.locator(".flight-age")
    assert ages.all_text_contents() == ["1\u00a0min 0\u00a0s", "7\u00a0s"]
    page.clock.fast_forward(10_000)
    expect(ages.first).to_have_text(re.compile("1.min 1"))
    assert ages.last.text_content() == "7\u00a0s"
    expect(page.locator(".process.dead h2")).to_contain_text("Process 2 lost: last seen")
    expect(page.locator(".process.dead .badge")).to_contain_text("lost")


def test_a_hidden_page_asks_for_nothing(visitor: Visitor, site: Site):
    """A hidden tab hears of nothing; when it is looked at again, it catches up."""
    page = visitor.go("#/runs?outcome=failed")
    visitor.live()
    before = page.locator(ROWS).count()
    page.evaluate(_HIDE, True)
    expect(page.locator(".connection")).to_have_text("paused")
    asked = len(visitor.asked)
    site.post("/pictures")
    site.ask("summary")
    assert len(visitor.asked) == asked
    assert page.locator(ROWS).count() == before
    page.evaluate(_HIDE, False)
    visitor.live()
    expect(page.locator(ROWS)).to_have_count(before + 1)


def test_a_gap_is_closed(visit: Visit, site: Site):
    """Where more has ended than is told one by one, the page asks the server."""
    visitor = visit()
    told = {"at": "2026-01-01T00:00:00+00:00", "ended": [], "ended_total": 500, "pending": 0, "running": 0}
    body = f"event: changed\nid: 1\ndata: {json.dumps(told)}\n\n"
    visitor.context.route(
        "**/api/events", lambda route: route.fulfill(body=body, headers={"content-type": "text/event-stream"})
    )
    with visitor.page.expect_response(lambda response: "api/runs" in response.url):
        visitor.enter("#/runs")
    with visitor.page.expect_response(lambda response: "api/runs" in response.url):
        pass


def test_it_connects_again_after_a_restart(watcher: Visitor, alone: Site):
    """While the server is away, the page says so and keeps what it shows; then it connects and catches up."""
    page = watcher.page
    with alone.serve():
        alone.post("/pictures")
        watcher.enter("#/runs?outcome=failed")
        watcher.live()
        expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator(".connection")).to_have_text("disconnected")
    expect(page.get_by_role("status")).to_have_text("Disconnected")
    assert page.locator(ROWS).count() == 1
    with alone.serve():
        alone.post("/pictures")
        watcher.live()
        expect(page.get_by_role("status")).to_have_text("Connected again")
        expect(page.locator(ROWS)).to_have_count(2)


def test_a_new_token_closes_the_door(watcher: Visitor, alone: Site):
    """When the server comes back with another token, the page asks for it instead of trying for ever."""
    with alone.serve():
        watcher.enter()
        watcher.live()
    with alone.serve(token="another-token-of-the-tests"):
        expect(watcher.page.locator("h1")).to_have_text("This console needs its token")
