"""``make demo-celery``: the shop with two workers, of which one is killed, and one account over all processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo.process import free_port
from tests.celery.brokers import plain_environment
from tests.celery.versions import SEARCHES_OFTEN
from tests.support import ROOT
from tests.support.mistakes import mistakes


def _left(folder: Path) -> list[str]:
    """Return the commands of the processes that write into a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(folder in file.readlink().parents for file in (process / "fd").iterdir()):
                found.append((process / "cmdline").read_text())
        except OSError:  # it has ended, or is somebody else's
            continue
    return found


@pytest.mark.timeout(180)
@SEARCHES_OFTEN
def test_one_account_over_all_processes(tmp_path: Path):
    """A worker is killed at work: the law holds over all, what is lost is told, and no process is left behind."""
    environment = plain_environment() | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "examples.demo.with_celery", "--port", str(free_port()), "--seconds", "12"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert re.search(r"✓ The law holds for all \d+ tasks .* scheduled = in the queue \+ pending \+ running", told)
    assert "✗" not in told
    [(lines, lost)] = re.findall(r"✓ (\d+) lines of lost tasks, (\d+) tasks lost", told)
    assert lines == lost != "0"
    assert "2 workers tell the same account, 2 workers run" in told
    rows = {
        row.split()[0]: row.split()[1:]
        for row in told.splitlines()
        if re.search(r" \(celery\) .* yes$", row.rstrip())
    }
    assert rows.keys() == {"archive_statement", "send_statement", "write_statement"}
    column = {"failed": 6, "returned": 12, "stays in the queue": 2}
    on_purpose = [mistake for mistake in mistakes() if mistake.command == "make demo-celery"]
    assert {mistake.told for mistake in on_purpose} == set(column)
    assert [one.name for one in on_purpose if rows[one.task.split()[0]][column[one.told]] in {"·", "0"}] == []
    assert rows["archive_statement"][1] == rows["archive_statement"][2]  # nobody consumes its queue
    assert re.search(r"the console +http://127.0.0.1:\d+/afterword/#token=", told)
    assert _left(tmp_path) == []
