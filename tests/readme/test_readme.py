"""What the README and the pages of the documentation show is run, and does what they say."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import ROOT

PAGES = [
    "README.md",
    *sorted(
        page.relative_to(ROOT).as_posix()
        for page in (ROOT / "docs").rglob("*.md")
        if "```python" in page.read_text()
    ),
]
BLOCK = re.compile(r"(?:<!-- (?P<visit>.*?) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


class Block(NamedTuple):
    """One Python block, with what the comment above it expects."""

    page: str
    """The file that it stands in, from the root."""
    line: int
    code: str
    request: list[str]
    status: int | None
    outcomes: dict[str, str]
    passed: int | None = None
    """How many tests it has that pass, where it is a user's test file."""
    is_conftest: bool = False
    """It is the user's ``conftest.py``, which counts for every test file."""


def blocks() -> list[Block]:
    """Read the blocks of all pages.

    Above one may stand ``<!-- GET /path 200; task outcome, … -->`` or ``<!-- pytest: 2 passed -->`` or
    ``<!-- pytest: conftest.py -->``.
    """
    return [block for page in PAGES for block in _blocks(page)]


def _blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = []
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        tests = re.fullmatch(r"pytest: (\d+) passed", match["visit"] or "")
        if tests:
            found.append(Block(page, line, match["code"], [], None, {}, int(tests[1])))
            continue
        if match["visit"] == "pytest: conftest.py":
            found.append(Block(page, line, match["code"], [], None, {}, is_conftest=True))
            continue
        visit, _, tasks = (match["visit"] or "").partition(";")
        *request, status = visit.split() or [""]
        outcomes = dict(pair.split() for pair in tasks.split(",") if pair.strip())
        found.append(Block(page, line, match["code"], request, int(status) if status else None, outcomes))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_found(page: str):
    """A page has as many Python blocks as are run here."""
    found = [block for block in blocks() if block.page == page]
    assert len(found) == (ROOT / page).read_text().count("```python") > 0


def quick_start() -> str:
    """Return the README's first block, which its reader saves as ``main.py``."""
    return next(block.code for block in blocks() if block.page == "README.md")


def by_line(*, tests: bool) -> pytest.MarkDecorator:
    """Parametrize by the pages' blocks: those that are users' tests, or the others."""
    wanted = [block for block in blocks() if (block.passed is not None) is tests]
    return pytest.mark.parametrize("block", wanted, ids=lambda block: f"{block.page} line {block.line}")


@by_line(tests=False)
def test_block(block: Block, tmp_path: Path):
    """A block runs by itself, and its tasks come to the outcomes that the text around it promises."""
    file = tmp_path / "block.py"
    file.write_text(block.code)
    command = [sys.executable, "-W", "error", "-m", "tests.readme.run_block", str(file), *block.request]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"status": ')))
    assert told == {"status": block.status, "outcomes": block.outcomes}


@by_line(tests=True)
def test_test_file(block: Block, tmp_path: Path):
    """A block of tests passes under a pytest of its own, with our plugin and the README's rule for a suite."""
    [conftest] = [other for other in blocks() if other.is_conftest]
    (tmp_path / "conftest.py").write_text(conftest.code)
    (tmp_path / "main.py").write_text(quick_start())
    (tmp_path / "test_block.py").write_text(block.code)
    plugin = ("-p", "no:afterword", "-p", "_afterword_pytest")  # by its module, whatever the entry points say
    command = [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{block.passed} passed" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md"])
def test_the_figures_are_the_benchmarks(page: str):
    """A page's table of costs is from the benchmark's last run that was committed, to two digits."""
    measured = {row[0]: row[3] for row in table("tests/benchmarks/results.md", "goal")}
    told = table(page, "what")
    assert len(told) == 3
    assert told == [[what, f"{float(measured[f'instructions: {what}']):.2f}"] for what, _ in told]


def table(page: str, first: str) -> list[list[str]]:
    """Return the rows of the table of a page whose head begins so."""
    lines = (ROOT / page).read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = itertools.takewhile(str.strip, lines[begin + 2 :])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
