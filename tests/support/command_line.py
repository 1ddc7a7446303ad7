"""The command line in this process: what it answers to a pipe or on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any, NamedTuple

from afterword._cli.main import main

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A stream where a person looks."""

    def isatty(self) -> bool:
        return True


class Answer(NamedTuple):
    """What a command answered; colours are left out of its text."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def afterword(*arguments: object, terminal: bool = False) -> Answer:
    """Run a command; its answer goes to a pipe unless there is a terminal."""
    out, err = Terminal() if terminal else io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
    return Answer(code, _COLOURS.sub("", out.getvalue()), err.getvalue())
