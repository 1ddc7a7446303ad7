"""Runs a piece of code in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence

from tests.support.processes import plain_environment


def run_fresh(
    code: str, *, arguments: Sequence[str] = (), prefix: Sequence[str] = (), **environment: str
) -> tuple[str, str]:
    """Run code in a fresh interpreter without any `OTEL_*` of ours; return what it printed and complained.

    ``prefix`` is a command that runs another one, which is the interpreter.
    """
    finished = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        env=plain_environment() | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert finished.returncode == 0, (finished.returncode, finished.stderr)
    return finished.stdout, finished.stderr
