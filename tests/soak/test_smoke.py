"""The soak itself, for seconds instead of minutes."""

from collections import Counter
from pathlib import Path

import pytest

from tests.soak.__main__ import dead_endpoint, is_good
from tests.soak.load import expected_of
from tests.soak.soaking import Figures, soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("run", ["plain", "dead trace endpoint"])
def test_the_account_is_exact_after_seconds(run: str, tmp_path: Path):
    """At full speed on two workers, each run that the load leads to ends once in `/metrics`, and none is open."""
    figures = soak(2, tmp_path, dead_endpoint() if run != "plain" else {})
    log = (tmp_path / "log").read_text()
    assert figures.requests > 0, log
    assert not figures.missing, log
    assert not figures.left_open, log


def test_a_leak_or_a_missing_run_is_no_success():
    """What is left over, open, or grown makes the soak fail."""
    good = Figures(1, 10, 20, 100.0, 101.0, Counter(), 0)
    assert is_good(good)
    for wrong in ({"missing": expected_of({"/refused": 1})}, {"left_open": 1}, {"at_the_end": 200.0}):
        assert not is_good(Figures(**(vars(good) | wrong)))
