"""What a client can send: names that nobody declared, of any length and number, and texts that forge others."""

import re
from typing import Annotated

import pytest
import structlog
from fastapi import BackgroundTasks, Body, Cookie, Depends, Header, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from afterword._common.http_request import http_method
from afterword._common.text import clean, is_clean, logfmt
from tests.support.asgi import ask, with_header
from tests.support.in_process import InProcessStage

KNOWN = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
WORD = re.compile(r'([a-z_.]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)')
METHOD = "http_request_method"


def words(line: str) -> dict[str, str]:
    """Read a line of `key=value` as the tools do that read logs."""
    assert WORD.sub("", line).strip() == "", line
    return dict(WORD.findall(line))


# --- methods ----------------------------------------------------------------------------------------------------


def test_made_up_methods_are_one_series(stage: InProcessStage):
    """Methods that clients make up are `_OTHER` in every signal, so they make one series, not one each."""
    app = stage.app(lambda: None)
    for number in range(50):
        ask(app, method=f"MADE-UP-{number}")
    ask(app, method="get")
    stage.accounts.lines.entries.clear()
    ask(app, method="\ud800")
    for account in (stage.accounts.prometheus, stage.accounts.meter):
        methods = [labels[METHOD] for name, labels, _ in account.samples() if METHOD in labels]
        assert methods == ["_OTHER"]
    assert stage.lines("request.failed")[0]["http_method"] == "_OTHER"
    assert {error.method for error in stage.accounts.recorder.failed_requests} == {"_OTHER"}


@pytest.mark.parametrize("method", KNOWN)
def test_known_methods_are_told(stage: InProcessStage, method):
    """The methods that OpenTelemetry knows are told as they are."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    app = stage.fastapi()
    app.api_route("/", methods=[method])(endpoint)
    stage.instrument(app)
    ask(app, method=method)
    [run] = stage.accounts.recorder.ended_runs
    assert run.request.method == method


def test_the_known_methods_can_be_named(monkeypatch):
    """OpenTelemetry's variable says which methods are known, in place of the usual ones."""
    from afterword._common import http_request as outside

    monkeypatch.setattr(outside, "_known", outside._known_methods("GET, PROPFIND,"))
    assert [http_method(method) for method in ("GET", "PROPFIND", "POST")] == ["GET", "PROPFIND", "_OTHER"]


# --- a line of text ---------------------------------------------------------------------------------------------


@pytest.fixture
def stdlib_lines(caplog):
    """Provide the lines that go to the standard library, of a process that has not configured structlog."""
    structlog.reset_defaults()
    caplog.set_level("INFO", "afterword")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "afterword"]


FORGED = 'a outcome=succeeded task=forged "x\n2026-11-21 INFO all is well'


def test_a_request_id_forges_no_key(stage: InProcessStage, stdlib_lines):
    """A request id is one word, on a line of the standard library and anywhere else."""
    app = stage.app_with(stage.works("mail"), metrics_path=None)
    ask(app, headers=[(b"x-request-id", FORGED.encode())])
    [line] = stdlib_lines()
    event, _, rest = line.partition(" ")
    assert event == "background_task.succeeded"
    assert set(words(rest)) == {
        *("task", "task_run", "http_method", "http_route", "request_id", "trace_id", "span_id"),
        *("wait_s", "duration_s"),
    }
    [run] = stage.accounts.recorder.ended_runs
    assert not re.search(r"\s", run.request.request_id)


def test_prose_is_quoted_on_a_plain_line(stage: InProcessStage, stdlib_lines, monkeypatch):
    """The prose of an outcome is one value on a line of the standard library, and so is the list of errors."""
    monkeypatch.setenv("AFTERWORD_CLIENT_ERROR_LEVEL", "info")

    async def endpoint(number: int, background: BackgroundTasks) -> None:
        BackgroundTasks().add_task(stage.works("mail"))

    app = stage.app(endpoint, metrics_path=None)
    ask(app, "/?number=1")
    ask(app)
    abandoned, failed = (words(line.partition(" ")[2]) for line in stdlib_lines())
    assert abandoned["detail"].startswith('"no response')
    assert failed["errors"] == '"query.number: missing"'


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), st.text() | st.integers()))
def test_any_value_is_one_word_of_a_line(values):
    """Whatever the values are, a line has the keys that were put on it, no others, and can be encoded."""
    line = logfmt(values)
    assert set(words(line)) == set(values)
    assert line.isprintable() or not re.search(r"[\x00-\x1f\x7f]", line)
    line.encode()


@given(st.text(st.characters(), max_size=300), st.integers(3, 100))
def test_a_cleaned_text_is_bounded_and_harmless(text, limit):
    """A text that was cleaned is within its bound, can be encoded, and is clean."""
    cleaned = clean(text, limit)
    assert is_clean(cleaned, limit)
    cleaned.encode()
    assert cleaned == text or not is_clean(text, limit)


# --- names in a validation error --------------------------------------------------------------------------------

KEY = "hunter2-key"


class Line(BaseModel):
    """One line of an order."""

    unit_price: int = Field(alias="unitPrice")


class Order(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid")
    lines: dict[str, Line]
    counts: dict[str, int] = {}


class Filters(BaseModel):
    """Query parameters."""

    model_config = ConfigDict(extra="forbid")
    page: int = 1


def as_json(stage: InProcessStage, endpoint, body: str, path: str = "/", headers=()):
    """Post JSON to an endpoint and return the one line of the failed request, and all of what was written."""
    output = stage.render()
    app = stage.fastapi()
    app.post("/")(endpoint)
    stage.instrument(app)
    sent = [*with_header("content-type", "application/json"), *headers]
    assert ask(app, path, method="POST", headers=sent, body=body.encode()).status == 422
    [line] = stage.lines("request.failed")
    return line["errors"], output.getvalue()


async def takes_order(order: Order) -> None:
    """Take a model that has no other fields."""


async def takes_counts(counts: dict[str, int]) -> None:
    """Take any keys."""


async def takes_two(order: Order, other: Annotated[int, Body()]) -> None:
    """Take two parts of a body."""


async def takes_filters(filters: Annotated[Filters, Query()]) -> None:
    """Take a model from the query."""


@pytest.mark.parametrize(
    ("endpoint", "body", "path", "errors"),
    [
        (takes_counts, f'{{"{KEY}": "x"}}', "/", ["body.*: int_parsing"]),
        (takes_order, f'{{"lines": {{}}, "{KEY}": 1}}', "/", ["body.*: extra_forbidden"]),
        (takes_order, f'{{"lines": {{"{KEY}": {{}}}}}}', "/", ["body.lines.*.unitPrice: missing"]),
        (takes_order, f'{{"lines": {{}}, "counts": {{"{KEY}": 0.5}}}}', "/", ["body.counts.*: int_from_float"]),
        (takes_order, '{"lines": [', "/", ["body.11: json_invalid"]),
        (takes_two, '{"other": "x"}', "/", ["body.order: missing", "body.other: int_parsing"]),
        (takes_filters, "", f"/?{KEY}=1&page=x", ["query.page: int_parsing", "query.*: extra_forbidden"]),
    ],
)
def test_keys_of_the_client_are_not_told(stage: InProcessStage, endpoint, body, path, errors):
    """Of a place, only names are told that the application has declared; a key of the client's is an asterisk."""
    told, output = as_json(stage, endpoint, body, path)
    assert sorted(told) == sorted(errors)
    assert KEY not in output


def test_declared_parameters_are_told(stage: InProcessStage):
    """Parameters of the route and of its dependencies are told by the name that the client sees."""

    async def dependency(number: Annotated[int, Header(alias="X-Num")], tag: Annotated[int, Cookie()]) -> None: ...

    async def endpoint(
        q: int, page: Annotated[int, Query(alias="p")], d: Annotated[None, Depends(dependency)]
    ): ...

    headers = [*with_header("x-num", "x"), *with_header("cookie", "tag=x")]
    told, _ = as_json(stage, endpoint, "", "/?q=x&p=x", headers)
    assert sorted(place.partition(":")[0].lower() for place in told) == [
        *("cookie.tag", "header.x-num", "query.p", "query.q")
    ]


def test_a_huge_key_is_no_huge_line(stage: InProcessStage):
    """A key of a megabyte does not get into the log, and neither do a thousand keys."""
    body = ", ".join([f'"{"k" * 1_000_000}": "x"', *(f'"{number}": "x"' for number in range(1000))])
    told, output = as_json(stage, takes_counts, f"{{{body}}}")
    assert set(told) == {"body.*: int_parsing"}
    assert len(output) < 5000


def test_a_place_is_not_deeper_than_anybody_reads(stage: InProcessStage):
    """Where a recursive model nests a hundred times, the place is cut."""
    told, _ = as_json(stage, takes_node, '{"below": ' * 100 + '"x"' + "}" * 100)
    assert told == ["body." + "below." * 9 + "...: model_attributes_type"]


class Node(BaseModel):
    """A model in itself."""

    below: "Node | None" = None


async def takes_node(node: Node) -> None:
    """Take any depth."""
