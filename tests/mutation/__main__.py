"""``python -m tests.mutation [NAME...]``: run mutmut, then list the mutants that live without an explanation."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.mutation.survivors import Survivor, explained, survivors

MOST_CHILDREN = "2"


def main(*names: str) -> int:
    """Run the mutants that have not been run, or those named; return 1 if one lives that should not."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
    missing = [path for path in settings["only_mutate"] if not Path(path).exists()]
    if missing:
        print(f"[tool.mutmut] names what is not there: {', '.join(missing)}")
        return 1
    stale = explained().stale({Path(path).stem: Path(path).read_text() for path in settings["only_mutate"]})
    if stale:
        print("equivalent.toml explains what is not there:", *stale, sep="\n  ")
        return 1
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", MOST_CHILDREN, *names]
    if subprocess.run(command, check=False).returncode:
        return 1
    return tell(*survivors())


def tell(tested: int, living: list[Survivor]) -> int:
    """Print the figure and every mutant that lives without an explanation."""
    known = explained()
    unexplained = [survivor for survivor in living if survivor.change not in known]
    for survivor in unexplained:
        print(f"\n{survivor.name}: {survivor.status}\n  - {survivor.change.was}\n  + {survivor.change.becomes}")
    equal = len(living) - len(unexplained)
    print(f"\n{tested} mutants: {tested - len(living)} killed, {equal} change nothing, {len(unexplained)} live")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
