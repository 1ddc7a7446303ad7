"""Runs a command. Whatever goes wrong is one line and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from .._common.errors.withheld import withhold
from .._common.variables import EXCEPTION_MESSAGES, JOURNAL, flag
from .arguments import directory_of, parser
from .output import Output, output_for, say
from .scrape import Unreadable

UNREADABLE: Final = 2
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command of these arguments, or of the command line; return the exit code."""
    with contextlib.suppress(AttributeError, ValueError):  # a stream of somebody else's
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return _run(arguments)
    except BrokenPipeError:  # who reads has seen enough
        _silence()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except Unreadable as fault:
        say(str(fault))
    except OSError as fault:
        _silence()
        where = f"{os.fsdecode(fault.filename)}: " if isinstance(fault.filename, str | bytes) else ""
        say(f"{where}{fault.strerror or fault}")
    return UNREADABLE


def _run(arguments: Sequence[str] | None) -> int:
    chosen = parser().parse_args(arguments)
    if hasattr(chosen, "directory"):
        directory = directory_of(chosen)
        if directory is None:
            say(f"which journal? Name its directory, or set {JOURNAL}")
            return UNREADABLE
        chosen.directory = directory
    output: Output = output_for(sys.stdout, chosen.form)
    if not flag(EXCEPTION_MESSAGES, default=True):
        withhold(output)
    try:
        code: int = chosen.run_command(output, chosen)
    finally:
        output.flush()
    return code


def _silence() -> None:
    """Let the interpreter's last flush go nowhere: it would complain once more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)
