"""Failed requests in the log: with what helps to repair them, never with what the client sent."""

import logging
import traceback

import pytest
from fastapi import BackgroundTasks, HTTPException
from pydantic import BaseModel, ValidationError

from tests.support.asgi import ask, with_header
from tests.support.in_process import InProcessStage

SECRET = "hunter2-secret"


class Order(BaseModel):
    """What a client sends."""

    number: int
    lines: list[int]


def invalid_input(stage: InProcessStage):
    """Return an application and the answer to a request whose body does not fit."""

    async def endpoint(order: Order) -> None:
        raise AssertionError("never called")

    app = stage.fastapi()
    app.post("/")(endpoint)
    stage.instrument(app)
    body = f'{{"number": "{SECRET}", "lines": [1, "{SECRET}"]}}'.encode()
    return ask(app, method="POST", headers=with_header("content-type", "application/json"), body=body)


def test_a_validation_error_is_told_by_its_places(stage: InProcessStage):
    """A 422 is told with the number of errors and where they are."""
    assert invalid_input(stage).status == 422
    [line] = stage.lines("request.failed")
    assert (line["log_level"], line["http_status"], line["error_count"]) == ("debug", 422, 2)
    assert [place.partition(":")[0] for place in line["errors"]] == ["body.number", "body.lines.1"]
    assert "exc_info" not in line


def test_the_input_is_not_in_the_log(stage: InProcessStage):
    """What did not fit is nowhere in the rendered log."""
    output = stage.render()
    invalid_input(stage)
    assert "request.failed" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_an_invalid_response_is_an_error_without_the_data(stage: InProcessStage):
    """A response that does not fit its model is an error with a traceback that does not quote the data."""

    async def endpoint() -> Order:
        return {"number": SECRET, "lines": []}

    output = stage.render()
    answer = ask(stage.app(endpoint))
    assert answer.status == 500
    assert SECRET in str(answer.error)  # as the server gets it: unchanged
    [line] = stage.lines("request.failed")
    assert (line["log_level"], line["error_count"]) == ("error", 1)
    assert line["errors"] == ["response.number: int_parsing"]
    assert line["error_type"] == "fastapi.exceptions.ResponseValidationError"
    assert "Traceback" in output.getvalue()
    assert "response.number: int_parsing" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_a_validation_error_of_the_users_own_is_not_quoted(stage: InProcessStage):
    """A pydantic error that an endpoint lets out is told by its places as well."""

    async def endpoint() -> None:
        Order.model_validate({"number": SECRET, "lines": []})

    output = stage.render()
    answer = ask(stage.app(endpoint))
    assert isinstance(answer.error, ValidationError)
    assert "number: int_parsing" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_a_task_that_fails_by_validation_is_not_quoted(stage: InProcessStage):
    """A task that raises a validation error fails in the log without the data it choked on."""

    async def mail() -> None:
        Order.model_validate({"number": SECRET, "lines": []})

    output = stage.render()
    ask(stage.app_with(mail))
    assert "background_task.failed" in output.getvalue()
    assert SECRET not in output.getvalue()


def test_many_validation_errors_are_counted_and_cut(stage: InProcessStage):
    """A thousand errors are counted, and the first twenty are told."""

    async def endpoint(order: Order) -> None: ...

    app = stage.fastapi()
    app.post("/")(endpoint)
    stage.instrument(app)
    body = b'{"number": 1, "lines": [' + b",".join([b'"x"'] * 1000) + b"]}"
    ask(app, method="POST", headers=with_header("content-type", "application/json"), body=body)
    [line] = stage.lines("request.failed")
    assert (line["error_count"], len(line["errors"])) == (1000, 20)


class ValidationErrorOfSomebody(Exception):
    """Not the kind that has places."""


class OddValidationError(Exception):
    """Has `errors`, which are something else."""

    def errors(self) -> list[str]:
        return ["amount"]


@pytest.mark.parametrize("kind", [OddValidationError, ValidationErrorOfSomebody])
def test_somebody_elses_validation_error(stage: InProcessStage, kind):
    """An exception that only looks like a validation error is logged like any other."""

    async def endpoint() -> None:
        raise kind("boom")

    ask(stage.app(endpoint))
    [line] = stage.lines("request.failed")
    assert "errors" not in line
    assert str(line["exc_info"][1]) == "boom"


def test_an_exception_without_a_text_has_a_traceback(stage: InProcessStage):
    """The traceback of an exception whose text cannot be had is logged without the text."""

    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    ask(stage.app_with(stage.fails("mail", Wordless()), traces=False))
    [line] = stage.lines("background_task.failed")
    kind, _, _ = line["exc_info"]
    text = "".join(traceback.format_exception(*line["exc_info"]))
    assert kind is Wordless
    assert "its text is not available" in text
    assert "fails" in text or "task" in text


@pytest.mark.parametrize(("status", "level"), [(400, "warning"), (404, "warning"), (500, "error"), (503, "error")])
def test_levels_of_failed_requests(stage: InProcessStage, status, level):
    """A 4xx is a warning without a traceback, a 5xx an error with it."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise HTTPException(status, "no")

    ask(stage.app(endpoint))
    [line] = stage.lines("request.failed")
    assert (line["log_level"], line["http_status"]) == (level, status)
    assert ("exc_info" in line) == (level == "error")


def test_a_request_that_fails_has_the_ids_of_its_request(stage: InProcessStage):
    """The line of a failed request carries the request's id and, where it was traced, its trace."""

    async def endpoint() -> None:
        raise KeyError("boom")

    app = stage.native()
    app.get("/")(endpoint)
    stage.instrument(app)
    ask(app, headers=with_header("x-request-id", "r-1"))
    [line] = stage.lines("request.failed")
    traces = {f"{span.context.trace_id:032x}" for span in stage.accounts.spans.all()}
    assert (line["request_id"], {line["trace_id"]}) == ("r-1", traces)
    assert line["exc_info"][0] is KeyError
    assert logging.getLevelName(line["log_level"].upper()) == logging.ERROR


def test_what_was_raised_and_answered_is_on_the_line(stage: InProcessStage):
    """A dropped task's line has the text of what dropped it and the status; a failed one's has its own text."""

    async def refuses(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise HTTPException(409, "sold out" + "!" * 1000)

    ask(stage.app(refuses))
    [dropped] = stage.lines("background_task.dropped")
    assert dropped["error_text"].startswith("409: sold out!")
    assert (len(dropped["error_text"]), dropped["http_status"]) == (500, 409)
    ask(stage.app_with(stage.fails("report")))
    [failed] = stage.lines("background_task.failed")
    assert failed["error_text"] == "boom"
    assert "http_status" not in failed
