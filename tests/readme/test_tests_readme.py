"""What the tests' own README shows: its examples are tests that pass, its folders and commands exist."""

import re
from collections.abc import Callable
from typing import Any

from tests.support import ROOT
from tests.support.comparison import Comparison
from tests.support.in_process import InProcessStage

TEXT = (ROOT / "tests" / "README.md").read_text()


def example(fixture: str) -> Callable[[Any], None]:
    """Run the block whose test asks for this fixture, as a module, and return the test."""
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    [code] = [block for block in blocks if re.search(rf"^def test_\w+\({fixture}: ", block, re.MULTILINE)]
    module: dict[str, Any] = {"__name__": "tests.example"}
    exec(compile(code, "tests/README.md", "exec"), module)
    [test] = [member for name, member in module.items() if name.startswith("test_")]
    return test


def test_the_example_of_a_unit_test(stage: InProcessStage):
    """The first example passes as it stands."""
    example("stage")(stage)


def test_the_example_of_a_scenario(comparison: Comparison):
    """The second example passes as it stands, in each telemetry mode."""
    example("comparison")(comparison)


def test_each_folder_is_described():
    """The table has every folder of tests, and no other."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert set(re.findall(r"\[(\w+)\]\(\1\)", TEXT.partition("## ")[0])) == folders


def test_each_command_exists():
    """Every command that it names is one of the Makefile's."""
    commands = set(re.findall(r"`make ([\w-]+)", TEXT))
    assert commands <= set(re.findall(r"^([\w-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(commands) == 9
