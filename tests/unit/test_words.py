"""Each name on the wire is written once, so that whoever searches the source for it finds where it is from."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import afterword
from afterword import Outcome, Reason
from afterword._common import semconv
from afterword._common.semconv import Metric

SOURCE = Path(afterword.__file__).parent.parent
SEMCONV, MODEL = "afterword/_common/semconv.py", "afterword/_common/outcomes.py"
HOMES = {semconv.STATE_PENDING: MODEL, semconv.STATE_RUNNING: MODEL}  # all others are at home in semconv
# words of other vocabularies that one of ours happens to look like, and where those are spoken
OTHER_WORDS = {
    "path": {
        "afterword/_common/http_request.py",  # from here on ASGI's scope
        "afterword/_common/errors/validation.py",  # FastAPI's parts of a request
        "afterword/_setup/occupied_path.py",
        "afterword/_starlette/http_route.py",
    },
    "exception": {MODEL},  # a reason
    "running": {"afterword/__init__.py"},  # a public function
    "task": {
        "afterword/__init__.py",  # a public function
        "afterword/_common/foreign.py",  # a variable of Datadog's
        "afterword/_celery/unstarted.py",  # from here on Celery's headers and signatures
        "afterword/_celery/worker.py",
        "afterword/_celery/patches.py",
    },
    "version": {"afterword/_cli/arguments.py"},  # an action of argparse's
}
OTHER_MEANINGS = {
    "cancelled": {"afterword/_starlette/state.py"},  # a kind of failure
    "exception": {SEMCONV},  # an event of a span
    "failed": {"afterword/_common/foreign.py"},  # a status of fastapi-taskflow's
    "revoked": {"afterword/_celery/patches.py"},  # a method of Celery's requests
    "request_failed": {"afterword/_ledger/runs.py"},  # a method of observers
    "unknown": {"afterword/_views/checks.py"},  # what a check has found
    "websocket": {  # a scope's type
        "afterword/_starlette/asgi.py",
        "afterword/_starlette/exception_handlers.py",
        "afterword/_starlette/request_errors.py",
        "afterword/_starlette/unstarted.py",
    },
}


def words_of(value: object) -> Iterator[str]:
    """Every string in a constant: a metric's help included, for it is written for the wire, too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from words_of(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from words_of(inner)


WORDS = sorted(
    {
        word
        for name, value in vars(semconv).items()
        if name.isupper() and not name.startswith("__")
        for word in words_of(value)
        if word and word not in semconv.EVENT_ENDED.values()  # put together from the outcomes
    }
)


def names_of_python(tree: ast.AST) -> Iterator[ast.expr]:
    """Strings that name something in Python: docstrings, `__all__`, `__slots__`, and what `getattr` asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            yield node.value
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__slots__"):
            yield from (each for each in ast.walk(node.value) if isinstance(each, ast.expr))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            yield node.args[1]


def literals() -> dict[str, list[str]]:
    """Every string literal of the source, and the files that it stands in, as often as it does."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in (SOURCE / "_afterword_pytest.py", *(SOURCE / "afterword").rglob("*.py")):
        tree = ast.parse(file.read_text())
        python = {id(node) for node in names_of_python(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in python:
                found[node.value].append(file.relative_to(SOURCE).as_posix())
    return found


LITERALS = literals()


@pytest.mark.parametrize("word", WORDS)
def test_each_name_on_the_wire_is_written_once(word):
    """A metric, a label, an attribute, an event and a log key is a literal in one place, and taken from there."""
    elsewhere = OTHER_WORDS.get(word, set())
    assert [place for place in LITERALS[word] if place not in elsewhere] == [HOMES.get(word, SEMCONV)]


@pytest.mark.parametrize("word", sorted({*Outcome, *Reason}))
def test_each_outcome_and_reason_is_written_in_the_model(word):
    """An outcome and a reason is a member of its class, and no string anywhere else."""
    assert set(LITERALS[word]) - OTHER_MEANINGS.get(word, set()) == {MODEL}


def test_no_name_is_part_of_another_string():
    """A name with a suffix, in a sentence or in a format string is found, too: none is outside of semconv."""
    named = [word for word in LITERALS if re.search(r"(?<![\w.])background_task[._ ]", word)]
    assert [word for word in named if set(LITERALS[word]) != {SEMCONV}] == []


def test_names_are_what_is_tested():
    """The words that are looked for are those of every metric, attribute, event and key."""
    assert {semconv.TASK_NAME, semconv.EVENT_REQUEST_FAILED, *semconv.LOG_KEYS} <= set(WORDS)
    assert all(metric.name in WORDS for metric in vars(semconv).values() if isinstance(metric, Metric))


def test_no_prometheus_name_is_built_by_hand():
    """A Prometheus name or label is the OpenTelemetry one, translated in one place."""
    metrics = [value for value in vars(semconv).values() if isinstance(value, Metric)]
    translated = {name for metric in metrics for name in (metric.prometheus, *metric.labels)}
    assert [name for name in sorted(translated - set(WORDS)) if name in LITERALS] == []


def test_other_words_are_still_spoken():
    """What is excepted here is there."""
    for others in (OTHER_WORDS, OTHER_MEANINGS):
        assert {word: places for word, places in others.items() if not places <= set(LITERALS[word])} == {}
