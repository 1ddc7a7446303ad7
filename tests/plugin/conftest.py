"""What the tests of the plugin share: an account as the fixture opens it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from afterword import testing
from tests.support.in_process import InProcessStage


@pytest.fixture
def opened(stage: InProcessStage) -> Iterator[testing.Account]:
    """Provide an account; whether the installed metadata know of the plugin or not."""
    with testing.account() as account:
        yield account
