"""The table of the matrix, and what it is made of."""

from tests.matrix import report, results
from tests.matrix.cells import selected


def test_every_cell_has_a_name_of_its_own():
    """A cell is chosen, and its result is kept, by its name."""
    names = [each.name for each in selected([])]
    assert len(names) == len(set(names))
    assert [each.peer for each in selected(["logfire"])] == ["logfire", "logfire"]


def test_the_table_is_that_of_the_kept_results():
    """RESULTS.md is generated, tells of every cell, and of no failure without a reason that is written down."""
    kept = results.load()
    assert report.TABLE.read_text() == report.text(kept)
    assert [each.name for each in selected([]) if each.name not in kept] == []
    assert {name: result.trouble for name, result in kept.items() if result.trouble} == {}
