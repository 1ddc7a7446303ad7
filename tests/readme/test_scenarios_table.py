"""The table of scenarios names each test that plays one, and no other."""

import ast
import re
from collections import Counter

from tests.support import ROOT

TABLE = ROOT / "docs" / "scenarios.md"


def played() -> Counter[str]:
    """Read the names of the test functions from the source of the scenarios."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests" / "scenarios").glob("test_*.py")]
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return Counter(node.name for node in functions if node.name.startswith("test_"))


def test_each_scenario_has_its_row():
    """Every test of a scenario stands in the table once, and every test in the table exists."""
    assert Counter(re.findall(r"`(test_\w+)`", TABLE.read_text())) == played()


def test_each_row_names_its_test():
    """Every row of the table ends with the tests that hold it."""
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("|")]
    headings = {index for index, row in enumerate(rows) if set(row) == set("|-")}
    texts = [row for index, row in enumerate(rows) if not headings & {index, index + 1}]
    assert [row for row in texts if not re.search(r"\| (`test_\w+`(, )?)+ \|$", row)] == []
