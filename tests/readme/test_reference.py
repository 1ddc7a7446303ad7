"""The tables of the reference, and what the README takes from other pages, are what the code has."""

import inspect
import re
import tomllib

import pytest
from prometheus_client import REGISTRY

import afterword
from afterword import Outcome, Reason, instrument
from afterword._cli.arguments import parser
from afterword._common import cardinality, semconv
from afterword._ledger.journal.retention import Limits
from afterword._setup.environment import DEFAULT_PATH
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


def test_each_event_has_its_row():
    """The table of log events has every event, and no other; each outcome at its level."""
    events = {name: value for name, value in vars(semconv).items() if name.startswith("EVENT_")}
    of_logs = [value for name, value in events.items() if isinstance(value, str) and name != "EVENT_EXCEPTION"]
    told = {event: row[1] for row in table("docs/reference/signals.md", "event") for event in words(row[0])}
    assert sorted(told) == sorted([*of_logs, *semconv.EVENT_ENDED.values()])
    levels = {Outcome.SUCCEEDED: "info", Outcome.FAILED: "error"}
    for outcome, event in semconv.EVENT_ENDED.items():
        assert told[event] == levels.get(outcome, "warning")


def test_each_key_of_a_line_has_its_row():
    """The table of keys has every key that one of our log lines may have, and no other."""
    told = [key for row in table("docs/reference/signals.md", "key") for key in words(row[0])]
    assert sorted(told) == sorted(semconv.LOG_KEYS)


def test_each_reason_is_told():
    """Beside each outcome stand its reasons: Starlette's on the page of outcomes, a queue's with Celery's."""
    starlette = {name for row in table("docs/outcomes.md", "outcome") for name in words(row[2])}
    celery = {name for row in table("docs/celery.md", "what happens") for name in words(row[2])}
    attempts = {name for row in table("docs/celery.md", "reason") for name in words(row[0])}
    reasons = [str(reason) for reason in Reason]
    of_a_queue = set(reasons[reasons.index("ignored") :])
    assert starlette == set(reasons) - of_a_queue
    assert of_a_queue <= celery | attempts <= set(reasons)


def test_each_default_of_an_argument_is_told():
    """The table of `instrument` says of each argument what it is unless it is given."""
    spoken = {True: "`True`", False: "`False`", None: "", (): "", REGISTRY: "`prometheus_client.REGISTRY`"}
    parameters = inspect.signature(instrument).parameters
    usual = {
        name: spoken.get(one.default, f"`{one.default}`") for name, one in parameters.items() if name != "app"
    }
    usual |= {"tracer_provider": "global", "meter_provider": "global", "metrics_path": f"`{DEFAULT_PATH}`"}
    usual["exception_messages"] = "`True`"  # None, as the variable decides then; its default is held below
    rows = table("docs/reference/api.md", "argument")
    assert {name: row[1] for row in rows for name in words(row[0])} == usual


def test_each_default_of_a_variable_is_told():
    """The table of the environment says of each switch and each bound what it is unless it is set."""
    told: dict[str, str] = {}
    for row in table("docs/reference/environment.md", "variable"):
        names, defaults = words(row[0]), row[1].replace("`", "").split(", ")
        told |= zip(names, defaults if len(defaults) > 1 else defaults * len(names), strict=True)
    sources = [path.read_text() for path in (ROOT / "src").rglob("*.py")]
    switch = re.compile(r'flag\((\w+|"\w+"), default=(True|False)\)')
    switches = {name.strip('"'): value.lower() for text in sources for name, value in switch.findall(text)}
    switches["AFTERWORD_EXCEPTION_MESSAGES"] = switches.pop("EXCEPTION_MESSAGES")
    bounds = [cardinality.TASK_NAMES, cardinality.ROUTES, cardinality.ERROR_TYPES, cardinality.QUEUES]
    kept = Limits()
    numbers = {
        "AFTERWORD_JOURNAL_RUNS": kept.runs,
        "AFTERWORD_JOURNAL_HOURS": kept.seconds / 3600,
        "AFTERWORD_JOURNAL_MB": kept.size / (1 << 20),
        **{bound._variable: bound._default for bound in bounds},
    }
    assert len(switches) >= 8
    assert {name: told[name] for name in switches} == switches
    assert {name: float(told[name]) for name in numbers} == numbers
    assert told["AFTERWORD_METRICS_PATH"] == DEFAULT_PATH


def test_each_command_has_its_row():
    """The table of commands has every command of the parser, and no other."""
    rows = table("docs/reference/command-line.md", "command")
    told = {words(row[0])[0].split()[1] for row in rows}
    assert told == set(re.findall(r"^    ([a-z]+) ", parser().format_help(), re.MULTILINE))


def test_each_option_is_told():
    """The page of the command line names each option of each command."""
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    [commands] = [action for action in parser()._actions if isinstance(action.choices, dict)]
    assert isinstance(commands.choices, dict)
    options = {
        option
        for command in commands.choices.values()
        for action in command._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    }
    assert len(options) > 8
    assert {option for option in options if not re.search(rf"`{option}\b", page)} == set()


def test_a_page_is_called_in_the_navigation_as_it_calls_itself():
    """Who looks for a how-to in the navigation finds its own heading."""
    project = tomllib.loads((ROOT / "docs" / "zensical.toml").read_text())["project"]
    named = re.findall(r"'([^']+)': '(how-to/[^']+)'", str(project["nav"]))
    assert len(named) == len(list((ROOT / "docs" / "how-to").glob("*.md")))
    headings = {
        name: (ROOT / "docs" / name).read_text().partition("\n")[0].removeprefix("# ") for _, name in named
    }
    assert {name: title for title, name in named} == headings
