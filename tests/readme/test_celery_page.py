"""The page on Celery names every reason that its engine gives, and no other."""

import inspect
import re
from typing import Any

import pytest
from celery import Celery

from afterword import instrument
from afterword._common.model import Reason
from afterword._signals.tallies.queues import RETURNED
from tests.readme.test_readme import table
from tests.support import ROOT

PAGE = "docs/celery.md"


def words(rows: list[list[str]], column: int) -> list[str]:
    """Return what stands in backticks in a column."""
    return [word for row in rows for word in re.findall(r"`(\w+)`", row[column])]


def test_each_reason_of_a_returned_attempt_is_told():
    """The table of attempts has the reasons that are counted, each once."""
    assert sorted(words(table(PAGE, "reason"), 0)) == sorted(RETURNED)


def test_each_reason_of_the_engine_is_told():
    """Every reason that Celery's engine gives stands in one of the tables, and every reason there is given."""
    sources = (path.read_text() for path in (ROOT / "src" / "afterword" / "_celery").glob("*.py"))
    given = {str(Reason[name]) for text in sources for name in re.findall(r"\bReason\.([A-Z_]+)", text)}
    given |= {str(Reason.PUBLISH_FAILED), str(Reason.EARLIER_TASK_FAILED)}  # by the ledger, for the engine
    told = {*words(table(PAGE, "what happens"), 2), *words(table(PAGE, "reason"), 0)}
    assert told == given - {str(Reason.UNKNOWN)}


def test_each_argument_is_told(monkeypatch: pytest.MonkeyPatch):
    """The page names every argument that a Celery application may have, and no other is accepted."""
    monkeypatch.setenv("AFTERWORD_DISABLED", "true")  # so it only checks its arguments
    app = Celery("shop", broker="memory://")

    def is_refused(name: str) -> bool:
        wrong: Any = {name: object()}
        try:
            instrument(app, **wrong)
        except TypeError as error:
            return "it means nothing for a Celery application" in str(error)
        return False

    arguments = set(inspect.signature(instrument).parameters) - {"app"}
    sentence = (
        (ROOT / PAGE).read_text().partition("`instrument(celery_app, ...)` takes ")[2].partition(". The others")[0]
    )
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name in arguments if not is_refused(name)}
