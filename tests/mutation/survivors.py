"""Which mutants live, as mutmut has written it down, and which of them are known to change nothing."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
LIVING = ("survived", "no tests", "suspicious", "segfault")


class Change(NamedTuple):
    """What a mutant changes, as mutmut's numbers of mutants do not stay."""

    function: str
    """With its class and its module, without the folder."""
    was: str
    becomes: str


class Fate(NamedTuple):
    """What became of one mutant."""

    name: str
    status: str
    change: Change

    @property
    def is_living(self) -> bool:
        """Whether no test has noticed it."""
        return self.status in LIVING


def is_living(code: int | None) -> bool:
    """Return whether mutmut's code for a mutant means that no test has noticed it."""
    from mutmut.__main__ import status_by_exit_code

    return status_by_exit_code[code] in LIVING


def fates_by_module() -> dict[str, list[Fate]]:
    """Return what became of the mutants that have been tried; the words of a sentence do not count."""
    from mutmut.__main__ import status_by_exit_code, walk_mutatable_files
    from mutmut.mutation.data import SourceFileMutationData

    fates: dict[str, list[Fate]] = {}
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        tried = {
            name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items() if code is not None
        }
        told = [Fate(name, tried[name], change) for name, change in changes(path, tried) if not is_prose(change)]
        if told:
            fates[f"{path.parent.name}.{path.stem}"] = told
    return fates


class Explained:
    """The mutants that are known to change nothing: one by one, and whole kinds of them; each with its reason."""

    def __init__(self, text: str) -> None:
        known = tomllib.loads(text)
        kinds = known.pop("kind", ())
        self._kinds = [Change(kind.get("in", ""), kind.get("was", ""), kind.get("becomes", "")) for kind in kinds]
        self._changes = {
            Change(f"{module}.{function}", mutant["was"], mutant["becomes"])
            for module, functions in known.items()
            for function, mutants in functions.items()
            for mutant in mutants
            if mutant["why"]
        }

    def stale(self, sources: dict[str, str]) -> list[Change]:
        """Return the explanations of what is not in the source of its module any more."""
        plain = {module: " ".join(source.split()) for module, source in sources.items()}
        return sorted(
            change
            for change in self._changes
            for module, _, function in [change.function.partition(".")]
            if change.was not in plain.get(module, "")
            or f"def {function.rpartition('.')[2]}(" not in plain[module]
        )

    def __contains__(self, change: Change) -> bool:
        return change in self._changes or any(all(map(re.search, kind, change)) for kind in self._kinds)


def explained() -> Explained:
    """Read the file of explanations."""
    return Explained(EQUIVALENT.read_text())


def changes(path: Path, mutants: Iterable[str]) -> Iterator[tuple[str, Change]]:
    """Yield what each mutant of a file changes."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    for name in mutants:
        yield name, _change(name, get_diff_for_mutant(name, path=path))


def _change(name: str, diff: str) -> Change:
    module, _, function = name.rpartition(".")
    function = function.partition("__mutmut_")[0].removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, becomes = (
        " ".join(word for line in lines if line.startswith(sign) for word in line[1:].split())
        for sign in ("-", "+")
    )
    return Change(f"{module.rpartition('.')[2]}.{function}", was, becomes)


def is_prose(change: Change) -> bool:
    """Return whether only the words of a sentence differ."""
    if change.was.replace("XX", "").lower() != change.becomes.replace("XX", "").lower():
        return False
    pairs = zip(change.was.split('"'), change.becomes.split('"'), strict=False)
    return any(" " in was for was, becomes in pairs if was != becomes)
