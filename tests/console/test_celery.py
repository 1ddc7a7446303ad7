"""What Celery's tasks look like beside the others: one list, a mark, the attempts of a run, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from afterword._celery import judgement
from afterword._common.model import Outcome, Reason
from afterword._ledger.journal.journal import journal_at
from tests.support.journals import attempt_of, queue_ledger_of

from .browser import Visitor
from .conftest import Visit
from .serving import Site
from .test_accessible import findings
from .test_views import texts

TASK = "shop.statement"
RUN = "5564f30c-265a-412d-ad52-299e3cd86b0a"


def work(directory: Path) -> None:
    """Let a worker write its journal: a task that is tried three times, one that fails, one that is not known."""
    journal = journal_at(str(directory / "journal"))
    books = queue_ledger_of(journal)
    first, second, last = (attempt_of(run_id=RUN, attempt=number) for number in (1, 2, 3))
    books.begin(first)
    books.give_back(first, Reason.RETRY, judgement.RETRIED, ConnectionRefusedError())
    books.begin(second)
    books.give_back(second, Reason.WORKER_LOST, f"{judgement.WORKER_LOST_ONCE}; {judgement.REQUEUED}")
    books.begin(last)
    books.close(last, Outcome.SUCCEEDED)
    slow = attempt_of("report")
    books.begin(slow)
    books.close(slow, Outcome.FAILED, Reason.TIME_LIMIT, judgement.TIME_LIMIT)
    books.close_unreceived(attempt_of("unknown"), Outcome.ABANDONED, Reason.UNREGISTERED, judgement.UNREGISTERED)
    journal.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Provide an application whose console reads the journal of a worker, too."""
    directory = tmp_path_factory.mktemp("site")
    work(directory)
    with Site(directory).serve() as site:
        site.post("/orders/1")
        yield site


def test_the_attempts_of_a_run(visitor: Visitor):
    """A run's page has each attempt with its number, reason and worker, and the worker and queue of the last."""
    page = visitor.go(f"#/runs/{RUN}")
    numbers, ends = texts(page, ".attempts tbody .of-number"), texts(page, ".attempts tbody .of-outcome")
    assert list(zip(numbers, ends, strict=True)) == [
        ("1", "B returned"),
        ("2", "B returned"),
        ("3", "S succeeded"),
    ]
    assert all(re.fullmatch(r"\d+ \w+ \d{4}, [\d:.]{12}", at) for at in texts(page, ".attempts tbody .of-when"))
    whys = texts(page, ".attempts tbody .of-why")
    assert whys == ["retry: ConnectionRefusedError", "worker lost", ""]
    assert set(texts(page, ".attempts tbody .of-worker")) == {"celery@shop-1"}
    facts = dict(zip(texts(page, ".facts dt"), texts(page, ".facts dd"), strict=True))
    assert (facts["engine"], facts["attempt"]) == ("Celery", "3")
    assert (facts["worker"], facts["queue"]) == ("celery@shop-1", "heavy")
    assert "dead" not in facts["process"]


def test_one_list_with_a_mark(visitor: Visitor, site: Site):
    """Runs of both engines are in one list, Celery's with a mark, and can be chosen by their engine."""
    page = visitor.go("#/runs")
    rows = texts(page, ".run-table tbody tr")
    assert len(rows) == 5
    assert all(("Celery" in row) == ("shop." in row) for row in rows)
    page.get_by_label("Engine").select_option("celery")
    expect(page.locator(".run-table tbody tr")).to_have_count(3)
    page.get_by_label("Engine").select_option("starlette")
    expect(page.locator(".run-table tbody tr")).to_have_count(2)
    expect(page.locator(".engine")).to_have_count(0)
    for fragment in ("#/tasks", "#/timeline"):
        visitor.go(fragment)
        assert page.locator(".engine").count() == 3, fragment


def test_causes_say_what_to_do(visitor: Visitor):
    """Celery's failures are causes with what to do, and so are attempts that were returned; a click shows them."""
    page = visitor.go("#/")
    causes = texts(page, ".cause-text")
    [limit] = [cause for cause in causes if cause.startswith("shop.report Celery F failed")]
    assert "Raise its time_limit" in limit
    [unknown] = [cause for cause in causes if cause.startswith("shop.unknown Celery A abandoned")]
    assert "Import its module there" in unknown
    [lost] = [cause for cause in causes if "ran out of memory" in cause]
    assert lost.startswith(
        "shop.statement Celery B returned 1 × in POST /orders/{number}: the process that ran it"
    )
    page.locator(".cause", has_text="ran out of memory").get_by_role("link").first.click()
    expect(page.locator(".run-table tbody tr")).to_have_count(1)
    [row] = texts(page, ".run-table tbody tr")
    assert "returned" in row
    assert "worker lost" in row
    expect(page.get_by_role("button", name="returned", exact=True)).to_have_attribute("aria-pressed", "true")


def test_an_attempt_is_no_run(visitor: Visitor, site: Site):
    """The verdict and the tally count each task once, however often it was tried."""
    outcomes = site.ask("summary")["outcomes"]
    assert (outcomes["succeeded"], outcomes["failed"], outcomes["abandoned"]) == (3, 1, 1)
    expect(visitor.go("#/").locator("h1")).to_contain_text("2 of 5 tasks in the last hour")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", [f"#/runs/{RUN}", "#/runs?outcome=returned", "#/", "#/tasks"])
def test_axe_finds_nothing_serious(visit: Visit, scheme: str, fragment: str):
    """Nothing that is shown of Celery's tasks has what axe calls serious or critical."""
    visitor = visit(color_scheme=scheme)
    page = visitor.enter(fragment)
    visitor.live()
    assert findings(page) == []


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_window(visit: Visit, width: int):
    """No view of Celery's tasks has to be scrolled sideways, from a telephone to a wide screen."""
    visitor = visit(viewport={"width": width, "height": 900})
    visitor.enter()
    for fragment in ("#/", "#/tasks", "#/timeline", "#/runs", f"#/runs/{RUN}"):
        page = visitor.go(fragment)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, fragment
