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

from tests.mutation.survivors import Survivor, changes, explained, is_prose, survivors
from tests.mutation.trials import Reach, Trials

REACH = Path("mutants/reach.json")


def main() -> int:
    """Try the mutants that have not been tried, or those named; return 1 if one lives that should not."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("names", nargs="*", help="for example 'afterword._ledger.runs.*'; tried again in any case")
    parser.add_argument("--children", type=int, default=2, help="how many are tried at once")
    parser.add_argument("--most-seconds", type=float, default=1e9, help="of tests for one mutant, the quickest")
    parser.add_argument(
        "--anew", action="store_true", help="write the mutants anew: the source or a test has changed"
    )
    arguments = parser.parse_args()
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
    missing = [path for path in settings["only_mutate"] if not Path(path).exists()]
    if missing:
        print(f"[tool.mutmut] names what is not there: {', '.join(missing)}")
        return 1
    stale = explained().stale({Path(path).stem: Path(path).read_text() for path in settings["only_mutate"]})
    if arguments.anew or not REACH.exists():
        run_in_fork(prepare, arguments.children)
    run_in_fork(attempt, arguments)
    code = tell(*survivors())
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


def attempt(arguments: argparse.Namespace) -> int:
    """Try the mutants, and write down what became of each."""
    data = {path: SourceFileMutationData(path=path) for path in walk_mutatable_files()}
    known = explained()
    mutants: dict[str, SourceFileMutationData] = {}
    for path, of_file in data.items():
        of_file.load()
        of_file.meta_path = of_file.meta_path.absolute()  # the tests run in another folder
        chosen = [
            name for name, code in of_file.exit_code_by_key.items() if _is_wanted(name, code, arguments.names)
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

    reach = json.loads(REACH.read_text())
    trials = Trials(
        list(mutants),
        reach["tests"],
        reach["seconds"],
        record,
        children=arguments.children,
        most_seconds=arguments.most_seconds,
    )
    return run_pytest("", trials)


def _is_wanted(name: str, code: int | None, names: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, wanted) for wanted in names) if names else code is None


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
    sys.exit(main())
