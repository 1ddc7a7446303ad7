"""What `help()` says of the public classes: every field is there, with its unit, and no other."""

import inspect
import pydoc
import re

import pytest

import afterword
from afterword import RequestInfo, TaskObserver, TaskRun

SECONDS = {"wait", "thread_wait", "duration"}
SINCE_THE_EPOCH = {"scheduled_at", "started_at", "ended_at"}


def documented(cls: type) -> dict[str, str]:
    """Read the list of attributes in a class's docstring."""
    text = inspect.getdoc(cls)
    assert text is not None
    entries = text.partition("Attributes:\n")[2]
    return dict(re.findall(r"^    (\w+): (.*(?:\n        .*)*)", entries, re.MULTILINE))


def test_every_field_of_a_run_is_documented():
    """`help(TaskRun)` lists each public field and property of a run, and nothing that there is not."""
    fields = {name for name in TaskRun.__annotations__ if not name.startswith("_")}
    properties = {name for name, member in vars(TaskRun).items() if isinstance(member, property)}
    run = TaskRun("shop.mail", "shop.mail", None, 0, is_async=True)
    assert set(documented(TaskRun)) == fields | properties == {name for name in dir(run) if name[0] != "_"}
    assert all(re.search(rf"^ \|  +{name}: ", pydoc.plain(pydoc.render_doc(TaskRun)), re.M) for name in fields)


def test_every_field_of_a_request_is_documented():
    """`help(RequestInfo)` lists each public field of a request."""
    assert set(documented(RequestInfo)) == {name for name in RequestInfo.__slots__ if name[0] != "_"}


def test_times_have_their_unit():
    """A duration says that it is in seconds, and a time of the day since when."""
    told = documented(TaskRun)
    assert all(told[name].startswith("seconds ") for name in SECONDS)
    assert all("in seconds since the epoch" in told[name] for name in SINCE_THE_EPOCH)
    assert all("hexadecimal digits" in told[name] for name in ("id", "trace_id", "span_id"))


@pytest.mark.parametrize("hook", ["scheduled", "started", "ended", "request_failed"])
def test_each_hook_says_where_it_is_called(hook: str):
    """A hook's text says on which thread it is called."""
    assert "thread" in inspect.getdoc(getattr(TaskObserver, hook))


def test_each_outcome_is_in_the_text_of_its_hooks():
    """The text of `ended` tells of every outcome, that of `started` of those that ran."""
    assert all(f"``{outcome}``" in inspect.getdoc(TaskObserver.ended) for outcome in afterword.Outcome)
