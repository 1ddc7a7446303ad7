"""The log lines: where they go, how loud they are, what is on them."""

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
import structlog
from fastapi import BackgroundTasks

from afterword._common import log
from tests.support.asgi import ask, call, with_header
from tests.support.in_process import InProcessStage
from tests.support.waiting import wait_until

IDS = {"trace_id", "span_id"}


def level_of(stage: InProcessStage, event: str) -> str:
    """Return how loud the one line of an event is."""
    [line] = stage.lines(event)
    return line["log_level"]


def test_every_transition_has_its_level(stage: InProcessStage):
    """What is normal is quiet, what somebody must look at is a warning or an error."""
    ask(stage.app_with(stage.works("mail"), stage.fails("report"), stage.works("audit")))
    assert {line["log_level"] for line in stage.lines("background_task.scheduled")} == {"debug"}
    assert {line["log_level"] for line in stage.lines("background_task.started")} == {"debug"}
    assert level_of(stage, "background_task.succeeded") == "info"
    assert level_of(stage, "background_task.failed") == "error"
    assert level_of(stage, "background_task.skipped") == "warning"


def test_the_keys_of_a_success(stage: InProcessStage):
    """A success says what, in which request, how long; what is unknown is not on the line."""
    app = stage.app_with(stage.works("mail"))
    ask(app, headers=with_header("x-request-id", "r-1"))
    [line] = stage.lines("background_task.succeeded")
    assert set(line) - IDS == {
        *("event", "log_level", "task", "task_run"),
        *("wait_s", "duration_s", "http_method", "http_route", "request_id"),
    }
    [run] = stage.accounts.recorder.ended_runs
    assert (line["task"], line["task_run"]) == ("shop.mail", run.id)
    assert (line["http_method"], line["http_route"], line["request_id"]) == ("GET", "/", "r-1")
    assert (line["trace_id"], line["span_id"]) == (run.trace_id, run.span_id)


def test_a_sync_task_tells_its_wait_for_a_thread(stage: InProcessStage):
    """`thread_wait_s` is on the lines of sync tasks only; all times are rounded to microseconds."""
    ask(stage.app_with(stage.works_in_thread("report"), stage.works("mail")))
    report, mail = stage.lines("background_task.succeeded")
    assert "thread_wait_s" not in mail
    for key in ("wait_s", "thread_wait_s", "duration_s"):
        assert report[key] == round(report[key], 6) >= 0


def test_a_failure_has_a_traceback_and_a_reason(stage: InProcessStage):
    """A failure carries the exception itself, its type and the reason, and no prose beside the traceback."""
    ask(stage.app_with(stage.fails("mail")))
    [line] = stage.lines("background_task.failed")
    assert line["exc_info"][0] is ValueError
    assert (line["error_type"], line["reason"]) == ("ValueError", "exception")
    assert not {"exception", "status", "detail"} & set(line)


def test_a_warning_says_what_to_do(stage: InProcessStage):
    """A task that did not run is told with what happened and what to do."""

    async def endpoint() -> None:
        BackgroundTasks().add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    [line] = stage.lines("background_task.abandoned")
    assert "return Response(" in line["detail"]
    assert line["log_level"] == "warning"
    assert "duration_s" not in line


def test_no_line_carries_nothing(stage: InProcessStage):
    """No key of ours is on a line with the value `None`."""
    ask(stage.app_with(stage.works("mail"), stage.fails("report"), stage.works("audit"), traces=False))
    assert stage.accounts.lines.entries
    assert not [line for line in stage.accounts.lines.entries if None in line.values()]
    assert not IDS & set(stage.accounts.lines.entries[0])


@pytest.mark.parametrize("key", ["task", "request_id", "trace_id", "wait_s", "reason"])
def test_what_the_user_has_bound_stays(stage: InProcessStage, key):
    """A key that the user has bound as a context variable keeps the user's value on our lines."""

    async def endpoint(background: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(**{key: "mine"})
        background.add_task(stage.fails("mail"))

    ask(stage.app(endpoint), headers=with_header("x-request-id", "r-1"))
    [line] = stage.lines("background_task.failed")
    assert line[key] == "mine"


def test_a_variable_that_was_unbound_is_ours_again(stage: InProcessStage):
    """A key that the user has bound and unbound again carries our value."""

    async def endpoint(background: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(task="mine")
        structlog.contextvars.unbind_contextvars("task")
        background.add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    assert stage.lines("background_task.succeeded")[0]["task"] == "shop.mail"


def test_variables_of_a_def_endpoint_reach_the_task(stage: InProcessStage):
    """What a `def` endpoint binds is on the task's lines, and in the task, though the thread's context is gone."""
    seen = []

    def look() -> None:
        seen.append(structlog.contextvars.get_contextvars().get("user"))

    def endpoint(background: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(user="ada")
        background.add_task(look)
        background.add_task(stage.fails("mail"))
        background.add_task(stage.works("audit"))

    ask(stage.app(endpoint))
    assert seen == ["ada"]
    assert stage.lines("background_task.succeeded")[0]["user"] == "ada"
    assert stage.lines("background_task.failed")[0]["user"] == "ada"
    assert stage.lines("background_task.skipped")[0]["user"] == "ada"


def test_variables_do_not_leak_into_the_next_request(stage: InProcessStage):
    """On one connection, as a server reuses it, the next request knows nothing of the former's variables."""
    users = iter(["ada", None])
    seen = []

    def look() -> None:
        seen.append(structlog.contextvars.get_contextvars().get("user"))

    def endpoint(background: BackgroundTasks) -> None:
        user = next(users)
        if user is not None:
            structlog.contextvars.bind_contextvars(user=user)
        background.add_task(look)

    async def scenario() -> None:
        for _ in range(2):
            await call(app)
        assert structlog.contextvars.get_contextvars() == {}

    app = stage.app(endpoint)
    asyncio.run(scenario())
    assert seen == ["ada", None]


def test_variables_that_the_task_has_are_kept(stage: InProcessStage):
    """Only what is missing in the task's context is carried over; what a middleware bound there stays."""
    seen = []

    def look() -> None:
        seen.append(structlog.contextvars.get_contextvars())

    def endpoint(background: BackgroundTasks) -> None:
        structlog.contextvars.bind_contextvars(user="ada", tenant="changed in the thread")
        background.add_task(look)

    async def outer(scope, receive, send) -> None:
        structlog.contextvars.bind_contextvars(tenant="shop")
        await app(scope, receive, send)

    app = stage.app(endpoint)
    ask(outer)
    assert seen == [{"user": "ada", "tenant": "shop"}]


def test_without_structlog_lines_go_to_the_standard_library(stage: InProcessStage, caplog):
    """If structlog is not configured, the stdlib logger `afterword` gets one readable line per event."""
    structlog.reset_defaults()
    caplog.set_level(logging.DEBUG, "afterword")
    ask(stage.app_with(stage.works("mail"), stage.fails("report"), metrics_path=None))
    records = {record.getMessage().split()[0]: record for record in caplog.records if record.name == "afterword"}
    assert "task=shop.mail" in records["background_task.succeeded"].getMessage()
    assert records["background_task.succeeded"].levelno == logging.INFO
    assert records["background_task.scheduled"].levelno == logging.DEBUG
    assert records["background_task.failed"].exc_info[0] is ValueError
    assert "%" not in records["background_task.failed"].msg.replace("%s", "")


def test_structlog_on_top_of_the_standard_library(stage: InProcessStage, caplog):
    """With structlog's stdlib factory the lines arrive at the stdlib logger `afterword`, rendered by the user."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    caplog.set_level(logging.INFO, "afterword")
    ask(stage.app_with(stage.works("mail"), stage.fails("report"), metrics_path=None))
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "afterword"]
    assert [line["event"] for line in lines] == ["background_task.succeeded", "background_task.failed"]
    assert [line["level"] for line in lines] == ["info", "error"]
    assert "ValueError: boom" in lines[1]["exception"]
    assert lines[0]["logger"] == "afterword"


def configure_over_stdlib(stage: InProcessStage, wrapper: Any) -> None:
    """Let structlog's loggers of this kind wrap the standard library's, and keep their lines."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, stage.accounts.lines],
        wrapper_class=wrapper,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


@pytest.mark.parametrize("wrapper", [structlog.stdlib.AsyncBoundLogger, structlog.BoundLogger])
def test_loggers_of_other_kinds(stage: InProcessStage, caplog, wrapper):
    """With structlog's asynchronous or generic logger every line is written once, and nothing else."""
    configure_over_stdlib(stage, wrapper)
    caplog.set_level(logging.DEBUG, "afterword")
    ask(stage.app_with(stage.works("mail"), metrics_path=None))
    events = [line["event"] for line in stage.accounts.lines.entries]
    assert events == [f"background_task.{event}" for event in ("scheduled", "started", "succeeded")]


def test_an_asynchronous_logger_writes_lines_from_threads(stage: InProcessStage, caplog):
    """A ``def`` endpoint schedules in a thread, in which no loop runs, and what is collected is told by one."""
    configure_over_stdlib(stage, structlog.stdlib.AsyncBoundLogger)
    caplog.set_level(logging.DEBUG, "afterword")

    def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.fails("mail"))

    ask(stage.app(endpoint, metrics_path=None))
    threading.Thread(target=log.emit, args=("error", "journal.failed", {"detail": "odd"})).start()
    wait_until(lambda: stage.lines("journal.failed"))
    events = [line["event"] for line in stage.accounts.lines.entries]
    assert events == [
        *(f"background_task.{event}" for event in ("scheduled", "started", "failed")),
        "journal.failed",
    ]


def test_a_level_that_is_off_in_the_standard_library(stage: InProcessStage, caplog):
    """Lines below the level of the stdlib logger `afterword` are not even put together."""
    configure_over_stdlib(stage, structlog.stdlib.BoundLogger)
    caplog.set_level(logging.INFO, "afterword")
    ask(stage.app_with(stage.works("mail"), metrics_path=None))
    assert [line["event"] for line in stage.accounts.lines.entries] == ["background_task.succeeded"]


def test_a_filtering_logger_filters(stage: InProcessStage):
    """A level that the user has switched off is not written."""
    structlog.configure(
        processors=[stage.accounts.lines],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    ask(stage.app_with(stage.works("mail"), stage.fails("report")))
    assert [line["event"] for line in stage.accounts.lines.entries] == ["background_task.failed"]
