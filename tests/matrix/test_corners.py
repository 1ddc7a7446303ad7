"""The corners of the matrix that fit into every run of the tests: here, without an environment of their own."""

import importlib.util
import sys

import pytest

from tests.matrix.cell import Cell, play

pytestmark = pytest.mark.timeout(180)  # two servers each, one after the other


def cell(server: str, *needed: str, **options):
    """Make the parameter of one cell; what it needs is installed by the Makefile, not by everybody."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    skip = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
    return pytest.param(Cell(server, "", server=server, **options), marks=skip, id=server)


@pytest.mark.parametrize(
    "cell",
    [
        cell("uvicorn-uvloop", "httptools", "uvloop"),
        cell("hypercorn-trio", "hypercorn", "trio"),
        cell("hypercorn", "hypercorn", kind="starlette"),
    ],
)
def test_corner(cell: Cell):
    """On another loop, parser and server the application behaves as ever; its account is exact in every act."""
    played = play(cell, sys.executable)
    assert "not_run" not in played, played
    trouble = {act: problems for act, problems in played["acts"].items() if problems}
    assert not trouble
    assert {"together", "removed in the middle", "removed", "again"} <= played["acts"].keys()
