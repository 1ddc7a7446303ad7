"""What the tests of the parts share: a workbench, and names that no other test has used up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from epilogue import names
from tests.parts.bench import Bench, restored_structlog


@pytest.fixture(autouse=True)
def unbounded_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test count its names from zero: the bounds are the process's."""
    for bound in ("TASK_NAMES", "ROUTES", "ERROR_TYPES"):
        monkeypatch.setattr(names, bound, names.Bound(getattr(names, bound).limit))
    monkeypatch.setattr(names, "_declared", {})


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Provide a workbench whose lines structlog keeps; afterwards nothing may be left patched."""
    with restored_structlog():
        bench = Bench()
        bench.accounts.lines.configure()
        yield bench
        bench.close()
