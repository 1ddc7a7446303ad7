"""The account of a worker that is killed in the middle of counting."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.kills import kill_one
from tests.workers.servers import ROOT, gunicorn, lost, scrape, serve, uvicorn

pytestmark = pytest.mark.timeout(300)
KILLS = 10


@pytest.mark.parametrize("command", [gunicorn, uvicorn], ids=lambda command: command.__name__)
def test_the_law_is_exact_after_every_kill(command: Callable[[int], list[str]], tmp_path: Path):
    """Whatever a worker was counting when it was killed, the law holds to the last task afterwards."""
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with serve(command, directory, log) as address:
        assert [kill_one(address, log) for _ in range(KILLS)] == [0.0] * KILLS
        assert lost(scrape(address), "quick") > 0


def test_the_law_is_exact_between_any_two_writes(tmp_path: Path):
    """A worker killed before any single write of a task's life leaves an account that closes exactly."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.workers.middle"],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert len(told) > 10, done.stdout + done.stderr
    assert {left for _, _, left in told} == {"0.0"}, done.stdout
    assert [killed for _, killed, _ in told] == ["True"] * (len(told) - 1) + ["False"]
