"""Which mutants live, as mutmut has written it down, and which of them are known to change nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

EQUIVALENT = Path(__file__).with_name("equivalent.toml")


class Change(NamedTuple):
    """What a mutant changes, as mutmut's numbers of mutants do not stay."""

    function: str
    was: str
    becomes: str


class Survivor(NamedTuple):
    """One mutant that no test has noticed."""

    name: str
    status: str
    change: Change


def survivors() -> tuple[int, list[Survivor]]:
    """Return how many mutants have been tried, and those that live; the words of a sentence do not count."""
    from mutmut.__main__ import status_by_exit_code, walk_mutatable_files
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    tried, living = 0, []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            status = status_by_exit_code[code]
            if status == "not checked":
                continue
            tried += 1
            if status in ("survived", "no tests", "suspicious"):
                change = _change(name, get_diff_for_mutant(name, path=path))
                if _is_prose(change):
                    tried -= 1
                else:
                    living.append(Survivor(name, status, change))
    return tried, living


def explained() -> set[Change]:
    """Return the mutants that are known to change nothing, each with its reason in the file."""
    known = tomllib.loads(EQUIVALENT.read_text())
    return {
        Change(function, mutant["was"], mutant["becomes"])
        for function, mutants in known.items()
        for mutant in mutants
        if mutant["why"]
    }


def _change(name: str, diff: str) -> Change:
    module, _, function = name.rpartition(".")
    function = function.partition("__mutmut_")[0].removeprefix("x").lstrip("_ǁ").replace("ǁ", ".")
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, becomes = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in ("-", "+"))
    return Change(f"{module}.{function}", was, becomes)


def _is_prose(change: Change) -> bool:
    """Return whether only the words of a sentence differ."""
    if change.was.replace("XX", "").lower() != change.becomes.replace("XX", "").lower():
        return False
    return any(" " in literal for literal in _differing_literals(change))


def _differing_literals(change: Change) -> list[str]:
    pairs = zip(change.was.split('"'), change.becomes.split('"'), strict=False)
    return [was for was, becomes in pairs if was != becomes]
