"""What is known inside a task: `current()`, `running()`, and the fields of a run."""

import asyncio
import random
import re
import time

import pytest
from fastapi import BackgroundTasks, Request
from starlette.background import BackgroundTask

import afterword
from afterword import Outcome
from tests.support.asgi import ask, with_header
from tests.support.in_process import InProcessStage


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_current_is_the_run_of_the_task(stage: InProcessStage, kind):
    """Inside a task, `current()` is its run, on the event loop and in a worker thread; outside it is nothing."""
    seen = []

    def look() -> None:
        seen.append((afterword.current(), afterword.running()))

    async def look_on_loop() -> None:
        look()

    app = stage.app_with(look_on_loop if kind == "async" else look)
    ask(app)
    [run] = stage.accounts.recorder.ended_runs
    assert seen == [(run, [run])]
    assert afterword.current() is None
    assert afterword.running() == []


def test_running_is_ordered_by_age(stage: InProcessStage):
    """A task that a task awaits is listed behind it, and is the current one while it runs."""
    seen = []

    async def inner() -> None:
        seen.append([run.name.rpartition(".")[2] for run in afterword.running()])
        seen.append(afterword.current().name.rpartition(".")[2])

    async def outer() -> None:
        await BackgroundTask(inner)()
        seen.append(afterword.current().name.rpartition(".")[2])

    ask(stage.app_with(outer))
    assert seen == [["outer", "inner"], "inner", "outer"]


def test_endpoints_have_no_current_run(stage: InProcessStage):
    """An endpoint is no task, even if it schedules some."""

    async def endpoint(background: BackgroundTasks) -> str:
        background.add_task(stage.works("mail"))
        return str(afterword.current())

    assert ask(stage.app(endpoint)).text == '"None"'


def test_the_fields_of_a_run(stage: InProcessStage):
    """A run knows who it is, where it comes from, when it was and how it ended."""
    before = time.time()
    app = stage.app_with(stage.works("mail"), stage.works_in_thread("report"))
    ask(app, headers=with_header("x-request-id", "r-1"))
    mail, report = stage.accounts.recorder.ended_runs
    assert (mail.index, report.index) == (0, 1)
    assert (mail.is_async, report.is_async) == (True, False)
    assert (mail.request.method, mail.request.route, mail.request.request_id) == ("GET", "/", "r-1")
    assert before <= mail.scheduled_at <= mail.started_at <= mail.ended_at <= time.time()
    assert re.fullmatch("[0-9a-f]{32}", mail.id)
    assert mail.id == mail.id != report.id
    assert (mail.thread_wait, mail.exception, mail.error_type, mail.reason) == (None, None, None, None)
    assert mail.outcome is Outcome.SUCCEEDED
    assert mail.started


def test_ids_do_not_repeat(stage: InProcessStage):
    """An application that seeds Python's random numbers still has runs that can be told apart."""
    app = stage.app_with(stage.works("mail"))
    for _ in range(2):
        random.seed(7)
        ask(app)
    first, second = stage.accounts.recorder.ended_runs
    assert first.id != second.id


def test_times_add_up(stage: InProcessStage):
    """Wait, thread wait and duration are non-negative seconds that fit between the moments."""

    def sleeps() -> None:
        time.sleep(0.05)

    ask(stage.app_with(sleeps))
    [run] = stage.accounts.recorder.ended_runs
    assert 0.05 <= run.duration < 5
    assert run.wait >= 0
    assert run.thread_wait >= 0
    assert run.thread_wait + run.duration <= run.ended_at - run.started_at + 0.02


def test_times_are_differences(stage: InProcessStage):
    """Wait and duration of a task on the event loop are seconds since a moment of this process."""
    began = time.perf_counter()

    async def sleeps() -> None:
        await asyncio.sleep(0.05)

    ask(stage.app_with(sleeps))
    [run] = stage.accounts.recorder.ended_runs
    passed = time.perf_counter() - began
    assert 0 <= run.wait < passed
    assert 0.04 <= run.duration < passed


def test_a_run_in_a_trace_has_its_ids(stage: InProcessStage):
    """`trace_id` and `span_id` are those of the run's own span, in hexadecimal."""
    ask(stage.app_with(stage.works("mail")))
    [run] = stage.accounts.recorder.ended_runs
    context = stage.accounts.spans.of("mail").context
    assert (run.trace_id, run.span_id) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


@pytest.mark.parametrize("decorate", [afterword.task, afterword.task()], ids=["bare", "called"])
def test_task_returns_the_function_itself(stage: InProcessStage, decorate):
    """`@task` without a name changes neither the function nor the name it goes by."""
    mail = stage.works("mail")
    assert decorate(mail) is mail
    ask(stage.app_with(mail))
    assert stage.accounts.recorder.ended_runs[0].name == "shop.mail"


def test_task_gives_a_name(stage: InProcessStage):
    """`@task(name=...)` names the task in every signal; the function's own name stays in `function`."""
    ask(stage.app_with(afterword.task(name="send mail")(stage.works("mail"))))
    [run] = stage.accounts.recorder.ended_runs
    assert (run.name, run.function) == ("send mail", "shop.mail")
    [span] = stage.accounts.spans.of_runs()
    assert span.name == "background_task send mail"
    assert span.attributes["code.function.name"] == "shop.mail"


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        (b"r-1", "r-1"),
        (b"", None),
        (b"a\nb\r\nc\x00", "abc"),
        (b"\x1b[31mred", "[31mred"),
        (b"x" * 10_000, "x" * 128),
        (b"\n" * 10_000, None),
        ("näh".encode("latin-1"), "näh"),
    ],
)
def test_request_ids_are_tamed(stage: InProcessStage, sent, known):
    """A request id of any length and content is cut to 128 printable characters; the request is not disturbed."""
    app = stage.app_with(stage.works("mail"))
    assert ask(app, headers=[(b"x-request-id", sent)]).status == 200
    [run] = stage.accounts.recorder.ended_runs
    assert run.request.request_id == known


def test_a_run_holds_no_request(stage: InProcessStage):
    """The request info of a run is plain text and numbers."""

    async def endpoint(request: Request, background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    [run] = stage.accounts.recorder.ended_runs
    info = run.request
    assert all(isinstance(getattr(info, slot, None), str | int | float | None) for slot in info.__slots__)
