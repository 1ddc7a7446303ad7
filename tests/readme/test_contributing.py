"""What a contributor is told of: the versions that are written down suffice, and name no place they come from."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.support import ROOT

LINES = (ROOT / "tests" / "newest.txt").read_text().splitlines()
PINNED = dict(line.split("==") for line in LINES[1:])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [
    *PROJECT["project"]["dependencies"],
    *(
        need
        for group in ("test", "demo", "dashboards", "check", "lint", "bench", "mutation")
        for need in PROJECT["dependency-groups"][group]
    ),
]


def test_the_versions_are_dated_and_are_versions_only():
    """The file says of which day it is, and each line is a name and a version: no address, no path."""
    assert re.fullmatch(r"# .* on 20\d\d-\d\d-\d\d, by `make constraints`\.", LINES[0])
    assert [line for line in LINES[1:] if not re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", ".github/workflows/ci.yml", ".pre-commit-config.yaml"])
def test_each_command_is_the_makefiles(page: str):
    """Whatever a contributor, the workflow or pre-commit is told to make is a target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = re.findall(r"\bmake\s+([a-z-]+)", re.sub(r"#.*", "", (ROOT / page).read_text()))
    assert called
    assert set(called) <= set(targets)


@pytest.mark.parametrize("wanted", WANTED)
def test_what_the_project_asks_for_is_pinned(wanted: str):
    """Each requirement of the project and of its development is pinned to a version that it accepts."""
    need = Requirement(wanted)
    version = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PINNED.items()}
    assert need.specifier.contains(version[re.sub(r"[-_.]+", "-", need.name).lower()], prereleases=True)
