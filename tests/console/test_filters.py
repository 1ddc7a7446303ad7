"""Every filter, every order, pages, and the addresses that keep them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .browser import Visitor
from .serving import Site

ROWS = ".run-table tbody tr"


def ids(page: Page) -> list[str]:
    """Return the ids of the runs that are listed."""
    return [str(row.get_attribute("data-key")) for row in page.locator(ROWS).all()]


@pytest.mark.parametrize(
    ("label", "name", "value"),
    [
        ("Task", "task", "audit.write"),
        ("Route", "route", "/orders/{number}/refund"),
        ("Reason", "reason", "earlier_task_failed"),
        ("Error", "error_type", "TypeError"),
    ],
)
def test_a_field_narrows_the_runs(visitor: Visitor, site: Site, label: str, name: str, value: str):
    """What is typed into a field narrows the list, stands in the address, and the address alone shows the same."""
    page = visitor.go("#/runs")
    expected = [run["task_run"] for run in site.ask("runs", limit=50, **{name: value})["runs"]]
    page.get_by_label(label, exact=True).fill(value)
    expect(page.locator(ROWS)).to_have_count(len(expected))
    assert ids(page) == expected
    assert len(expected) < len(site.ask("runs", limit=50)["runs"])
    address = page.url
    assert f"{name}=" in address
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator(ROWS)).to_have_count(len(expected))
    expect(page.get_by_label(label, exact=True)).to_have_value(value)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(ROWS)).not_to_have_count(len(expected))
    assert visitor.fragment() == "#/runs"


def test_a_trace_narrows_the_runs(visitor: Visitor, site: Site):
    """A trace that no run is in leaves none, and the page says what can be done."""
    page = visitor.go("#/runs")
    page.get_by_label("Trace").fill("0" * 32)
    expect(page.locator(".empty")).to_contain_text("No run is like that.")
    traced = [run for run in site.ask("runs")["runs"] if run.get("trace_id")]
    if traced:
        page.get_by_label("Trace").fill(traced[0]["trace_id"])
        expect(page.locator(ROWS).first).to_be_visible()
        assert traced[0]["task_run"] in ids(page)


def test_outcomes_are_chosen_together(visitor: Visitor, site: Site):
    """Several outcomes can be chosen at once; the choice is a list in the address."""
    page = visitor.go("#/runs")
    for outcome in ("skipped", "failed"):
        page.get_by_role("button", name=outcome, exact=True).click()
        expect(page.get_by_role("button", name=outcome, exact=True)).to_have_attribute("aria-pressed", "true")
    expected = [run["task_run"] for run in site.ask("runs", outcome="failed,skipped")["runs"]]
    expect(page.locator(ROWS)).to_have_count(len(expected))
    assert ids(page) == expected
    assert visitor.fragment() == "#/runs?outcome=failed%2Cskipped"


def test_a_state_is_chosen(visitor: Visitor, site: Site):
    """Instead of what has ended, what is running can be listed."""
    page = visitor.go("#/runs")
    site.post("/reports")
    page.get_by_label("State").select_option("running")
    expect(page.locator(ROWS)).to_have_count(1)
    expect(page.locator(ROWS)).to_contain_text("report.build")
    site.post("/reports/release")
    expect(page.locator(ROWS)).to_have_count(0)


def test_pages_follow_one_another(visitor: Visitor, site: Site):
    """Older runs are on further pages, each once; the way back leads to the newest."""
    site.post("/orders/2", times=30)
    page = visitor.go("#/runs?task=mail.send&outcome=succeeded")
    expect(page.locator(ROWS)).to_have_count(
        min(50, len(site.ask("runs", task="mail.send", outcome="succeeded")["runs"]))
    )
    page = visitor.go("#/runs?outcome=succeeded")
    seen = ids(page)
    assert len(seen) == 50
    page.get_by_role("link", name="Older runs").click()
    expect(page.get_by_role("link", name="Back to the newest")).to_be_visible()
    expect(page.locator(f'{ROWS}[data-key="{seen[0]}"]')).to_have_count(0)
    older = ids(page)
    assert older
    assert not set(older) & set(seen)
    page.get_by_role("link", name="Back to the newest").click()
    expect(page.locator(f'{ROWS}[data-key="{seen[0]}"]')).to_have_count(1)
    assert visitor.fragment() == "#/runs?outcome=succeeded"


VALUES: dict[str, Any] = {
    "task": lambda task: task["task"].lower(),
    "total": lambda task: task["total"],
    "rate": lambda task: task["per_minute"],
    "failing": lambda task: 1 - task["counts"].get("succeeded", 0) / task["total"],
    "wait": lambda task: task["wait_s"].get("p95", -1),
    "thread": lambda task: task["thread_wait_s"].get("p95", -1),
    "duration": lambda task: task["duration_s"].get("p95", -1),
}


@pytest.mark.parametrize("column", VALUES)
def test_every_column_sorts_both_ways(visitor: Visitor, site: Site, column: str):
    """A column's head sorts by it, and again the other way round; the order stands in the address."""
    page = visitor.go("#/tasks?sort=-rate" if column != "rate" else "#/tasks")
    values = {task["task"]: VALUES[column](task) for task in site.ask("tasks")["tasks"]}
    head = page.locator(f"th.of-{column}[scope=col]")
    for _ in range(2):
        head.get_by_role("button").click()
        direction = head.get_attribute("aria-sort")
        rows = [str(row.get_attribute("data-key")) for row in page.locator(".task-table tbody tr").all()]
        order = [values[name] for name in rows]
        assert sorted(rows) == sorted(values)
        assert order == sorted(order, reverse=direction == "descending")
        address = visitor.fragment()
        page = visitor.go("#/now")
        page = visitor.go(address)
        expect(head).to_have_attribute("aria-sort", str(direction))


def test_tasks_are_narrowed_by_name(visitor: Visitor):
    """A part of the name is enough, in any case; nothing left is told in words."""
    page = visitor.go("#/tasks")
    page.get_by_label("Name").fill("PICT")
    expect(page.locator(".task-table tbody tr")).to_have_count(2)
    assert visitor.fragment() == "#/tasks?q=PICT"
    page.get_by_label("Name").fill("no such")
    expect(page.locator(".empty")).to_contain_text("No task is called like “no such”.")


def test_a_task_leads_to_its_requests(visitor: Visitor):
    """A task's name leads to the timeline of the requests that scheduled it, and its count to its runs."""
    page = visitor.go("#/tasks")
    page.get_by_role("rowheader", name="publish").get_by_role("link").click()
    expect(page.locator(".request-item")).to_have_count(2)
    assert visitor.fragment() == "#/timeline?task=pictures.publish"
    page.go_back()
    page.get_by_role("link", name="2 runs of pictures.publish").click()
    expect(page.locator(ROWS)).to_have_count(2)


def test_the_timeline_is_narrowed_and_scaled(visitor: Visitor):
    """Task and route narrow the requests; on the clock, all share one line of time."""
    page = visitor.go("#/timeline")
    page.get_by_label("Route").fill("/orders/{number}/refund")
    expect(page.locator(".request-item")).to_have_count(4)
    page.get_by_label("Task").fill("pictures.publish")
    expect(page.locator(".empty")).to_contain_text("No request here.")
    page.get_by_label("Task").fill("")
    expect(page.locator(".request-item")).to_have_count(4)
    for scale in ("same", "clock"):
        page.get_by_label("Scale").select_option(scale)
        lengths = set(page.locator(".length").all_text_contents())
        assert len(lengths) == 1
        assert f"scale={scale}" in visitor.fragment()


def test_the_time_that_is_looked_at_stays(visitor: Visitor):
    """How far back is looked is kept from view to view, and in the address."""
    page = visitor.page
    page.get_by_label("How far back").select_option("1 day")
    expect(page.locator("h1")).to_contain_text("the last day")
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator(".lead")).to_contain_text("the last day")
    assert visitor.fragment() == "#/timeline?since=86400"
