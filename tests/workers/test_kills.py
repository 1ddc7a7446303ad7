"""The account of a worker that is killed in the middle of counting."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.kills import kill_one
from tests.workers.servers import gunicorn, run_module, serve, uvicorn

pytestmark = pytest.mark.timeout(300)
KILLS = 10


@pytest.mark.parametrize("command", [gunicorn, uvicorn], ids=lambda command: command.__name__)
def test_the_law_is_exact_after_every_kill(command: Callable[[int], list[str]], tmp_path: Path):
    """Whatever a worker was counting when it was killed, the law holds to the last task afterwards."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(command, directory, log) as address:
        assert [kill_one(address, log) for _ in range(KILLS)] == [0.0] * KILLS


def test_the_law_is_exact_between_any_two_writes(tmp_path: Path):
    """A worker killed before any single write of a task's life leaves an account that closes exactly."""
    printed, _ = run_module(tmp_path, "tests.workers.middle")
    told = [line.split() for line in printed.splitlines() if line[:1].isdigit()]
    assert len(told) > 10, printed
    assert {left for _, _, left in told} == {"0.0"}, printed
    assert [killed for _, killed, _ in told] == ["True"] * (len(told) - 1) + ["False"]
