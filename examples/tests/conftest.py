"""A rule for the whole suite: tasks may fail, but every one must run, unless its test expects otherwise."""

from collections.abc import Iterator

import pytest

from afterword.testing import Account


@pytest.fixture(autouse=True)
def all_ran(account: Account) -> Iterator[None]:
    """Look at the account after each test."""
    yield
    account.assert_all_ran()
