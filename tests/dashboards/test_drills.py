"""`make drills`: it starts, and it knows every alert."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

from .drills import PLAYED
from .live_situations import CULPRITS, QUIET
from .prometheus_rules import alerts


def test_the_command_starts_and_knows_every_alert():
    """It lists a drill for each alert, and where none may fire; it is what `make drills` runs."""
    recipe = re.search(r"^drills:.*\n\t.*-m (\S+)$", Path(ROOT, "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    done = subprocess.run(
        [sys.executable, "-m", recipe[1], "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"Afterword\w+", done.stdout)) == set(alerts())
    assert all(what in done.stdout for what in (*PLAYED.values(), *QUIET.values()))


def test_every_culprit_is_of_a_drill():
    """No culprit is named for what is not played."""
    assert CULPRITS.keys() <= PLAYED.keys()
