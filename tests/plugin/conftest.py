"""What the tests of the plugin share: an account as the fixture opens it, and the workbench."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from epilogue import testing
from tests.parts.bench import Bench, restored_structlog


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Provide a workbench whose lines structlog keeps; afterwards nothing may be left patched."""
    with restored_structlog():
        bench = Bench()
        bench.accounts.lines.configure()
        yield bench
        bench.close()


@pytest.fixture
def opened(bench: Bench) -> Iterator[testing.Account]:
    """Provide an account; whether the installed metadata know of the plugin or not."""
    with testing.account() as account:
        yield account
