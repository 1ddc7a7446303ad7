"""A browser and a served application, each for the tests of one module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from .browser import Visitor, chromium
from .serving import Site

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Provide a browser. Not for longer: while it runs, asyncio takes this thread for one of its own."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Provide the application, with tasks that have ended in every way."""
    with Site(tmp_path_factory.mktemp("site")).serve() as site:
        site.visit()
        yield site


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """Provide visitors, who must have nothing to complain of: no error, no other host, no breach of the policy."""
    visitors: list[Visitor] = []

    def visit(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, site.console, **options))
        return visitors[-1]

    yield visit
    for visitor in visitors:
        visitor.context.close()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


@pytest.fixture
def visitor(visit: Visit) -> Visitor:
    """Provide a visitor who is let in."""
    visitor = visit()
    visitor.enter()
    return visitor
