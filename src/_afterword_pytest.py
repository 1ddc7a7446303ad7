"""The pytest plugin: the fixture ``account``, and what pytest says when a number of it is not the expected one.

A module of its own, outside the package: pytest imports it in every run of everybody who has Afterword installed,
and whatever is imported of the package imports FastAPI. That waits until a test asks for the fixture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from afterword.testing import Account, Count


@pytest.fixture
def afterword_account() -> Iterator[Account]:
    """The same as ``account``, for a test suite that has a fixture of that name already."""
    from afterword import testing

    with testing.account() as account:
        yield account


@pytest.fixture
def account(afterword_account: Account) -> Account:
    """The account of every background task that is scheduled during the test, in whichever application."""
    return afterword_account


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell, for ``assert account["send_mail"].succeeded == 1``, what became of each run."""
    testing = sys.modules.get("afterword.testing")
    if testing is None:
        return None
    counts: type[Count] = testing.Count
    stories = [side.story() for side in (left, right) if isinstance(side, counts)]
    return [f"{left!r} {op} {right!r}", "", *stories[0]] if stories else None
