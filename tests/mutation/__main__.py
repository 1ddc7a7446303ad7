"""``python -m tests.mutation [NAME...]``: try the mutants, then list those that live without an explanation.

mutmut makes the mutants and finds out which tests reach which function. ``trials`` tries them.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import tomllib
from pathlib import Path

import pytest
from mutmut import __main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.utils.file_utils import change_cwd, setup_source_paths, walk_mutatable_files
from mutmut.workers.isolation import run_in_fork

from tests.mutation.survivors import changes, explained, fates_by_module, is_living, is_prose
from tests.mutation.trials import Reach, Trials

REACH = Path("mutants/reach.json")
_QUICKEST = 15.0  # seconds of tests for one mutant, at first; what outlives them is tried with all


def main() -> int:
    """Try the mutants that have not been tried, or those named; return 1 if one lives that should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("names", nargs="*", help="for example 'afterword._ledger.runs.*'; tried again in any case")
    parser.add_argument("--children", type=int, default=2, help="how many are tried at once")
    parser.add_argument("--anew", action="store_true", help="write them anew: the source or a test has changed")
    arguments = parser.parse_args()
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
    missing = [path for path in settings["only_mutate"] if not Path(path).exists()]
    if missing:
        print(f"[tool.mutmut] names what is not there: {', '.join(missing)}")
        return 1
    stale = explained().stale({Path(path).stem: Path(path).read_text() for path in settings["only_mutate"]})
    if arguments.anew or not REACH.exists():
        run_in_fork(prepare, arguments.children)
    for most_seconds in (_QUICKEST, None):
        run_in_fork(attempt, arguments.names, arguments.children, most_seconds)
    code = tell()
    if stale:
        print("\nequivalent.toml explains what is not there:", *stale, sep="\n  ")
    return 1 if stale else code


def prepare(children: int) -> int:
    """Write the mutants, and run the tests once to see which of them reaches which function."""
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.create_mutants(children)
    reach = Reach()
    if run_pytest("stats", reach) != 0:
        print("These tests fail without a mutant, so they are not asked:", *sorted(reach.failed), sep="\n  ")
    REACH.write_text(json.dumps({"tests": reach.tests_of, "seconds": reach.seconds_of}, default=sorted))
    return 0


def run_pytest(mutant: str, plugin: object) -> int:
    """Run the tests that [tool.mutmut] names on the mutated source, with a plugin of ours."""
    setup_source_paths()
    set_mutant_under_test(mutant)
    os.environ["PY_IGNORE_IMPORTMISMATCH"] = "1"  # the package of the tests is the checkout's, ours among it
    tests = [*config().pytest_add_cli_args_test_selection, *config().pytest_add_cli_args]
    with change_cwd("mutants"):
        return int(pytest.main(["--rootdir=.", "-q", "--tb=short", *tests], plugins=[plugin]))


def attempt(names: list[str], children: int, most_seconds: float | None) -> int:
    """Try mutants with the quickest tests, or what lives with all; write down what became of each."""
    data = {path: SourceFileMutationData(path=path) for path in walk_mutatable_files()}
    known = explained()
    mutants: dict[str, SourceFileMutationData] = {}
    for path, of_file in data.items():
        of_file.load()
        of_file.meta_path = of_file.meta_path.absolute()  # the tests run in another folder
        chosen = [
            name
            for name, code in of_file.exit_code_by_key.items()
            if _is_wanted(name, names) and (is_living(code) if most_seconds is None else names or code is None)
        ]
        for name, change in changes(path, chosen):
            if change in known or is_prose(change):
                of_file.exit_code_by_key[name] = 0
            else:
                mutants[name] = of_file
        of_file.save()

    def record(mutant: str, code: int) -> None:
        mutants[mutant].exit_code_by_key[mutant] = code
        mutants[mutant].save()

    if not mutants:
        return 0
    reach = json.loads(REACH.read_text())
    most_seconds = most_seconds or sum(reach["seconds"].values())
    tests, seconds = reach["tests"], reach["seconds"]
    trials = Trials(list(mutants), tests, seconds, record, children=children, most_seconds=most_seconds)
    return run_pytest("", trials)


def _is_wanted(name: str, names: list[str]) -> bool:
    return not names or any(fnmatch.fnmatch(name, wanted) for wanted in names)


def tell() -> int:
    """Print every mutant that lives without an explanation or took too long, and the figures of each module."""
    known, unexplained = explained(), 0
    table = ["| module | mutants | killed | change nothing | live |", "|---|---:|---:|---:|---:|"]
    for module, fates in fates_by_module().items():
        living = [fate for fate in fates if fate.is_living and fate.change not in known]
        for fate in fates:
            if fate in living or fate.status == "timeout":
                print(f"\n{fate.name}: {fate.status}\n  - {fate.change.was}\n  + {fate.change.becomes}")
        equal = sum(fate.is_living for fate in fates) - len(living)
        killed = len(fates) - equal - len(living)
        table.append(f"| `{module}` | {len(fates)} | {killed} | {equal} | {len(living)} |")
        unexplained += len(living)
    print("", *table, sep="\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
