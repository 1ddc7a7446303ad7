"""The page for contributors tells of the source as it is: the places and the state that it names."""

import ast
import re
from importlib import import_module
from operator import attrgetter

import pytest

from tests.support import ROOT

SOURCE = ROOT / "src" / "afterword"
TEXT = (ROOT / "docs" / "how-it-works.md").read_text()
DECISIONS = TEXT.partition("## Where is it decided?\n")[2].partition("\n## ")[0]
STATE = TEXT.partition("## Module-level state\n")[2]
MODULE = r"_[a-z]+(?:/[a-z_]+)+"


@pytest.mark.parametrize("place", re.findall(rf"`({MODULE}[.][\w.]+)`", DECISIONS))
def test_each_decision_is_made_where_the_page_says(place):
    """Every place in the table is a function or a class of its module."""
    module, _, name = place.partition(".")
    assert callable(attrgetter(name)(import_module(f"afterword.{module.replace('/', '.')}")))


def test_each_module_that_is_named_exists():
    """Every module and every folder that the page names is one of the source."""
    assert {
        name for name in re.findall(rf"(?<!\w){MODULE}", TEXT) if not (SOURCE / f"{name}.py").exists()
    } == set()
    folders = {path.name for path in SOURCE.glob("_[a-z]*") if path.is_dir()}
    assert set(re.findall(r"`(_[a-z]+)/`", TEXT)) == folders


def is_state(value: ast.expr | None) -> bool:
    """Whether a value will be filled: an empty collection, a lock, an object that is made without arguments."""
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List):
        return not value.elts
    made = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    return bool(made) and made not in ("object", "frozenset", "_Default") and not value.args and not value.keywords


def test_all_state_of_modules_is_told():
    """Every module that keeps something for the whole process has its row."""
    keeping = set()
    for file in SOURCE.rglob("_*/**/*.py"):
        tree = ast.parse(file.read_text())
        assigned = (node.value for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign))
        if any(map(is_state, assigned)) or any(isinstance(node, ast.Global) for node in ast.walk(tree)):
            keeping.add(file.relative_to(SOURCE).with_suffix("").as_posix())
    assert keeping - set(re.findall(MODULE, STATE)) == set()
    assert len(keeping) > 10
