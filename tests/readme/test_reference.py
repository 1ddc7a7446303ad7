"""The tables of the reference, and what the README takes from other pages, are what the code has."""

import inspect
import re

import pytest

import afterword
from afterword import Outcome, instrument
from afterword._cli.arguments import parser
from afterword._common import semconv
from tests.readme.test_readme import table
from tests.support import ROOT

METRICS = [value for value in vars(semconv).values() if isinstance(value, semconv.Metric)]


def words(cell: str) -> list[str]:
    """Return what stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("page", ["README.md", "docs/outcomes.md"])
def test_each_outcome_has_its_row(page: str):
    """A table of outcomes has all six, in the order of their definition, and says of each whether the task ran."""
    rows = table(page, "outcome")
    assert [words(row[0]) for row in rows] == [[str(outcome)] for outcome in Outcome]
    ran = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELLED)
    assert [row[1] for row in rows] == ["yes" if outcome in ran else "no" for outcome in Outcome]


def test_the_readmes_comparison_is_an_excerpt():
    """Each row of the README's comparison stands so on the page that has all of it, below the same tools."""
    excerpt, whole = (
        [line for line in (ROOT / page).read_text().splitlines() if line.startswith("|")]
        for page in ("README.md", "docs/comparison.md")
    )
    [head] = [line for line in excerpt if "ddtrace" in line]
    assert head == whole[0]
    rows = excerpt[excerpt.index(head) + 2 :][:5]
    assert [row for row in rows if row not in whole] == []


def test_each_argument_has_its_row():
    """The table of `instrument` has every argument but the application, and no other."""
    told = [name for row in table("docs/reference/api.md", "argument") for name in words(row[0])]
    assert sorted(told) == sorted(set(inspect.signature(instrument).parameters) - {"app"})


def test_each_public_name_is_in_the_reference():
    """The page that is made from the source has every name of the package, and each public module."""
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    told = re.findall(r"^::: afterword\.(\w+)$", page, re.MULTILINE)
    public = {name for name in afterword.__all__ if name[0] != "_"}
    assert public | {"logs", "testing", "multiprocess"} == set(told)


def test_each_variable_has_its_row():
    """The table of the environment has every variable that the source reads, and no other."""
    source = (ROOT / "src").rglob("*.py")
    read = {name for path in source for name in re.findall(r"\bAFTERWORD_[A-Z_]*[A-Z]\b", path.read_text())}
    rows = table("docs/reference/environment.md", "variable")
    told = {name for row in rows for name in words(row[0]) if name.startswith("AFTERWORD_")}
    assert told == read


def test_each_metric_has_its_row():
    """The table of metrics has every name, in both forms."""
    rows = table("docs/reference/signals.md", "OpenTelemetry")
    assert sorted(name for row in rows for name in words(row[0])) == sorted(metric.name for metric in METRICS)
    told = sorted(name.removesuffix("_total") for row in rows for name in words(row[1]))
    assert told == sorted(metric.prometheus for metric in METRICS)


def test_each_key_of_a_line_is_told():
    """The page of the signals names every key that one of our log lines may have."""
    page = (ROOT / "docs" / "reference" / "signals.md").read_text()
    assert [key for key in semconv.LOG_KEYS if f"`{key}`" not in page] == []


def test_each_command_has_its_row():
    """The table of commands has every command of the parser, and no other."""
    rows = table("docs/reference/command-line.md", "command")
    told = {words(row[0])[0].split()[1] for row in rows}
    assert told == set(re.findall(r"^    ([a-z]+) ", parser().format_help(), re.MULTILINE))
