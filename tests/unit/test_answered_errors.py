"""An error that a user's handler answers with a 2xx has failed no request, and is told all the same."""

from pathlib import Path

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import JSONResponse, RedirectResponse

from afterword.logs import OpenTelemetryLogs
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.journals import history_of
from tests.support.sdk_logs import KeptLogs
from tests.support.story import answered_error, dropped, request_error, succeeded

EVENT = "request.error_answered"


def charge(number: int) -> None:
    """Fail, in a function that the endpoint calls."""
    raise LookupError(f"no card {number}")


def app_that(stage: InProcessStage, status: int, exc: Exception | None = None, **options) -> FastAPI:
    """Make an application whose handler answers with a status."""

    async def endpoint(tasks: BackgroundTasks, task: bool = False) -> None:
        if task:
            tasks.add_task(stage.works("mail"))
        if exc is not None:
            raise exc
        charge(7)

    app = stage.app(endpoint, **options)
    app.add_exception_handler(LookupError, lambda request, exc: JSONResponse({"error": "later"}, status))
    return app


def test_the_line_says_what_was_hidden(stage: InProcessStage):
    """One line has the error, its text, where it was raised, and the status that was answered; none has failed."""
    answer = ask(app_that(stage, 202), headers=[(b"x-request-id", b"17")])
    assert answer.status == 202
    [line] = stage.lines(EVENT)
    assert line["log_level"] == "info"
    keys = ("http_method", "http_route", "http_status", "error_type", "error_text", "request_id")
    assert [line[key] for key in keys] == ["GET", "/", 202, "LookupError", "no card 7", "17"]
    endpoint, charging = line["place"].split(" > ")
    assert endpoint.startswith(f"{__name__}.app_that.<locals>.endpoint:")
    assert charging == f"{__name__}.charge:{charge.__code__.co_firstlineno + 2}"
    stage.assert_story(answered_error(202, "LookupError"))
    assert stage.lines("request.failed") == []


def test_one_that_drops_a_task_is_worth_a_warning(stage: InProcessStage):
    """If the error kept a task from running, the line is a warning, as that of the task."""
    ask(app_that(stage, 200), "/?task=true")
    [line] = stage.lines(EVENT)
    assert line["log_level"] == "warning"
    stage.assert_story(dropped("mail"), answered_error(200, "LookupError"))


def test_it_is_counted_beside_the_failed_ones(stage: InProcessStage):
    """The counter of request errors has it, by its class and the status that was sent."""
    ask(app_that(stage, 200))
    labels = {"http_request_method": "GET", "http_route": "/", "error_type": "LookupError"}
    name = "afterword_request_errors_total"
    assert stage.sample(name, http_response_status_code="200", **labels) == 1.0


def test_it_is_a_record_of_opentelemetry(stage: InProcessStage, kept_logs: KeptLogs):
    """The record has the same name, and the exception with its traceback."""
    ask(app_that(stage, 200, observers=[OpenTelemetryLogs(kept_logs.provider)]))
    [record] = [record for record in kept_logs.records if record.event == EVENT]
    assert record.severity == 9
    assert record.attributes["exception.message"] == "no card 7"
    assert record.attributes["http.response.status_code"] == 200


@pytest.mark.parametrize("exc", [HTTPException(204), None], ids=["a chosen status", "a redirect"])
def test_what_is_meant_to_be_an_answer_is_none(stage: InProcessStage, exc: Exception | None):
    """Who raises an ``HTTPException`` has chosen its status, and a redirect hides nothing."""
    app = app_that(stage, 303, exc)
    app.add_exception_handler(LookupError, lambda request, exc: RedirectResponse("/login", 303))
    ask(app)
    stage.assert_story()
    assert stage.lines(EVENT) == []


def test_what_is_answered_loudly_is_a_failed_request(stage: InProcessStage):
    """Answered with a 4xx or 5xx, it is a failed request and nothing else."""
    ask(app_that(stage, 503))
    stage.assert_story(request_error(503, "LookupError"))
    assert stage.lines(EVENT) == []


def test_a_second_attempt_that_succeeds_hides_nothing(stage: InProcessStage):
    """If a middleware tries again and the application answers by itself, the first attempt's error is not told."""
    attempts = iter([True, False])

    class TriesAgain:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            try:
                await self.app(dict(scope), receive, send)
            except LookupError:
                await self.app(dict(scope), receive, send)

    async def endpoint(tasks: BackgroundTasks) -> None:
        if next(attempts):
            charge(7)
        tasks.add_task(stage.works("mail"))

    app = stage.app(endpoint)
    app.add_middleware(TriesAgain)
    assert ask(app).status == 200
    assert stage.lines(EVENT) == []
    stage.assert_story(succeeded("mail"))


class CarrierUnavailable(LookupError):
    """What an application raises."""


def test_all_signals_have_the_same_words_for_the_error_of_a_dropped_task(
    stage: InProcessStage, kept_logs: KeptLogs, tmp_path: Path
):
    """Line, span, record of OpenTelemetry's, journal and observer name the same class, and its text."""
    logs = OpenTelemetryLogs(kept_logs.provider)
    app = app_that(stage, 503, CarrierUnavailable("closed"), journal=str(tmp_path), observers=[logs])
    ask(app, "/?task=true")
    [run] = stage.accounts.recorder.ended_runs
    [line], [record] = stage.lines("background_task.dropped"), history_of(tmp_path)
    span = stage.accounts.spans.of("mail").attributes
    [kept] = [kept for kept in kept_logs.records if kept.event == "background_task.dropped"]
    name = f"{__name__}.CarrierUnavailable"
    assert run.error_type == line["error_type"] == span["error.type"] == record.error_type == name
    assert kept.attributes["error.type"] == name
    texts = line["error_text"], span["exception.message"], kept.attributes["exception.message"], record.error
    assert set(texts) == {"closed"}
    assert {line["reason"], span["background_task.reason"], record.reason} == {"request_failed"}
    statuses = line["http_status"], span["http.response.status_code"], kept.attributes["http.response.status_code"]
    assert set(statuses) == {503}
