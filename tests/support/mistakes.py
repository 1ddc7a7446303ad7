"""The mistakes that the example shop makes on purpose: what its README lists of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from . import ROOT

SHOP = ROOT / "examples" / "shop"
_SEEN = re.compile(r"`(?P<task>[^`]+)` (?P<told>[\w ]+)(?:, `(?P<request>[^`]+)`)?")


class Mistake(NamedTuple):
    """One row of the list."""

    name: str
    module: str
    task: str
    told: str
    """What becomes of the task: its outcome, or what the account says of it."""
    request: str | None
    """The method and the route of the request that the task belongs to."""
    command: str
    """Who shows it."""


def mistakes() -> list[Mistake]:
    """Read the list."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (SHOP / "README.md").read_text().partition("| mistake |")[2].splitlines()[2:]
    ]
    found = []
    for name, where, seen, command in rows:
        [module] = re.findall(r"\]\((\w+\.py)\)", where)
        match = _SEEN.fullmatch(seen)
        assert match is not None, seen
        found.append(Mistake(name, module, match["task"], match["told"], match["request"], command.strip("`")))
    return found
