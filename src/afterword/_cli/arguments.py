"""The commands and their options."""

from __future__ import annotations

import argparse
import os
import re
import time
from datetime import datetime
from typing import Final

from .._common import __version__
from .._common.model import LOST, RETURNED, Outcome
from .._common.variables import JOURNAL
from . import account_view, causes, now, runs, show
from .output import PROGRAM

_UNITS: Final = dict(zip("smhd", (1, 60, 3600, 86_400), strict=True))

_ABOUT: Final = f"""\
Shows what the journal of Afterword holds, and checks the account that an application publishes.
It only reads. A terminal gets a table, in local time; a pipe gets lines of JSON, in UTC.
The journal is the directory DIR, or that of the variable {JOURNAL}.
"""
_EXIT: Final = (
    "Exit codes: 0 done; 1 the law is broken, or there is no such run; 2 it cannot be read; 130 interrupted."
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog=PROGRAM, description=_ABOUT, epilog=_EXIT, formatter_class=raw)
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    form = _form()

    command = _command(commands, form, "runs", "what has ended, newest first", runs.run)
    _directory(command)
    _filters(command)
    command.add_argument("--follow", "-f", action="store_true", help="go on with each run that ends, until Ctrl-C")
    command.add_argument(
        "--limit",
        "-n",
        type=_count,
        metavar="N",
        help="so many at most, 0 for all (default: 25 as a table, all as JSON; with --follow, 10 to begin with)",
    )

    command = _command(
        commands, form, "causes", "why runs did not succeed, the most frequent cause first", causes.run
    )
    _directory(command)
    _filters(command)
    command.add_argument(
        "--limit", "-n", type=_count, metavar="N", help="so many causes at most, 0 for all (default)"
    )

    command = _command(commands, form, "now", "what is in flight, by process, oldest first", now.run)
    _directory(command)
    command.add_argument("--task", metavar="NAME", help="of this task: its name, or the end of it")

    command = _command(commands, form, "show", "everything about one run, and the others of its request", show.run)
    command.add_argument("run", metavar="RUN", type=_run, help="its id, or a beginning that no other run has")
    _directory(command)

    command = _command(
        commands,
        form,
        "account",
        "the numbers of a running application, and whether they add up",
        account_view.run,
    )
    command.add_argument(
        "url", metavar="URL", help="where it is, as http://localhost:8000 or with the path of its metrics"
    )
    return top


def directory_of(arguments: argparse.Namespace) -> str | None:
    """Return the directory that a command is about; ``None`` if nobody has named one."""
    directory: str = arguments.directory or os.environ.get(JOURNAL, "").strip()
    return directory or None


def _form() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    either = parent.add_mutually_exclusive_group()
    either.add_argument(
        "--json", dest="form", action="store_const", const="json", help="lines of JSON (default for a pipe)"
    )
    either.add_argument(
        "--text",
        dest="form",
        action="store_const",
        const="text",
        help="text for a person (default for a terminal)",
    )
    return parent


def _command(
    commands: object, form: argparse.ArgumentParser, name: str, text: str, run: object
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(  # type: ignore[attr-defined]
        name, help=text, description=f"Shows {text}.", parents=[form]
    )
    command.set_defaults(run_command=run)
    return command


def _directory(command: argparse.ArgumentParser) -> None:
    command.add_argument("directory", nargs="?", metavar="DIR", help=f"the journal (default: ${JOURNAL})")


def _filters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--outcome",
        action="append",
        choices=[*map(str, Outcome), LOST, RETURNED],
        metavar="OUTCOME",
        help=f"ended like this: {', '.join(Outcome)} or {LOST}; {RETURNED}: attempts of Celery's that did not end "
        "their task; may be repeated",
    )
    command.add_argument("--task", metavar="NAME", help="of this task: its name, or the end of it")
    command.add_argument("--route", metavar="ROUTE", help="of requests to this route, as /orders/{number}")
    command.add_argument("--trace", type=str.lower, metavar="ID", help="in this trace")
    command.add_argument(
        "--since", type=_since, metavar="WHEN", help="ended since then: 90s, 10m, 2h, 1d, or ISO 8601"
    )


def _since(text: str) -> float:
    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text.strip()):
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither like 10m or 2h nor a time as 2026-01-31T12:00"
        ) from None


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def _run(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("an id is needed")
    return text
