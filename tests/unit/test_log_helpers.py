"""`afterword.logs`: ids on the user's own lines, and one traceback per error."""

import asyncio
import logging

import pytest
import structlog
from fastapi import BackgroundTasks
from fastapi.responses import JSONResponse
from starlette.middleware.base import BaseHTTPMiddleware

from afterword.logs import ReportedFilter, add_context
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.unit.conftest import Kept


def with_context(stage: InProcessStage) -> None:
    """Configure structlog as the page on log lines says."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, add_context, stage.accounts.lines],
        cache_logger_on_first_use=False,
    )


def app_that_logs(stage: InProcessStage):
    """Return an application whose endpoint and tasks write lines of their own."""
    log = structlog.get_logger()

    async def on_loop() -> None:
        log.info("in task")

    def in_thread() -> None:
        log.info("in thread")

    async def endpoint(background: BackgroundTasks) -> None:
        log.info("in endpoint")
        background.add_task(on_loop)
        background.add_task(in_thread)

    app = stage.native()
    app.get("/")(endpoint)
    return stage.instrument(app)


def test_lines_of_an_endpoint_carry_the_trace(stage: InProcessStage):
    """A line written in an endpoint has the ids of the current span, and no task."""
    with_context(stage)
    ask(app_that_logs(stage))
    [line] = stage.lines("in endpoint")
    traces = {f"{span.context.trace_id:032x}" for span in stage.accounts.spans.all()}
    assert {line["trace_id"]} == traces
    assert not {"task", "task_run"} & set(line)


@pytest.mark.parametrize(("event", "task"), [("in task", "on_loop"), ("in thread", "in_thread")])
def test_lines_of_a_task_carry_the_task(stage: InProcessStage, event, task):
    """A line written in a task has the ids of the task's span and of its run, also in a worker thread."""
    with_context(stage)
    ask(app_that_logs(stage))
    [line] = stage.lines(event)
    run = stage.accounts.recorder.run(task)
    assert (line["task"], line["task_run"]) == (run.name, run.id)
    assert (line["trace_id"], line["span_id"]) == (run.trace_id, run.span_id)


def test_nothing_is_added_outside(stage: InProcessStage):
    """A line written outside of any request and task is left alone."""
    with_context(stage)
    structlog.get_logger().info("outside")
    assert set(stage.lines("outside")[0]) == {"event", "log_level"}


def test_what_is_on_the_line_stays():
    """Keys that the user has put on a line are not overwritten."""
    from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

    with use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False))):
        line = add_context(None, "info", {"trace_id": "mine"})
    assert line == {"trace_id": "mine", "span_id": f"{2:016x}"}


async def serve_once(app, *before: Exception, path: str = "/") -> None:
    """Call an application as uvicorn does: log the exception that comes out, in the same context."""
    log = logging.getLogger("uvicorn.error")
    for exc in before:
        log.error("Exception of another kind", exc_info=exc)
    answer = await call(app, path)
    if answer.error is not None:
        log.error("Exception in ASGI application\n", exc_info=answer.error)
    log.error("a message without an exception")
    log.error("an exception of somebody else", exc_info=OSError("disk full"))


def messages(records: list[logging.LogRecord]) -> list[str]:
    """Return what was logged, in order."""
    return [record.getMessage().strip() for record in records]


REST = ["a message without an exception", "an exception of somebody else"]


def test_a_failed_request_is_printed_once(stage: InProcessStage, server_log):
    """The traceback of an error that was reported is taken out, and nothing else."""

    async def endpoint() -> None:
        raise KeyError("boom")

    stage.render()
    asyncio.run(serve_once(stage.app(endpoint), ValueError("earlier")))
    assert messages(server_log) == ["Exception of another kind", *REST]
    assert len(stage.lines("request.failed")) == 1


def test_a_failed_task_is_printed_once(stage: InProcessStage, server_log):
    """The traceback of a failed task is taken out of the server's log as well."""
    stage.render()
    asyncio.run(serve_once(stage.app_with(stage.fails("mail"))))
    assert messages(server_log) == REST
    assert len(stage.lines("background_task.failed")) == 1


def test_an_error_of_a_mounted_application_is_printed_once(stage: InProcessStage, server_log):
    """What an application mounted inside has logged by its own settings is taken out as well."""

    async def endpoint() -> None:
        raise KeyError("boom")

    stage.render()
    outer = stage.app()
    outer.mount("/inner", stage.app(endpoint))
    asyncio.run(serve_once(outer, path="/inner/"))
    assert messages(server_log) == REST
    assert len(stage.lines("request.failed")) == 1


class Passes(BaseHTTPMiddleware):
    """Calls its application in a task of its own, whose context ends with it."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


class Translates:
    """Raises another error in the place of its application's."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        try:
            await self.app(scope, receive, send)
        except KeyError as exc:
            raise LookupError("translated") from exc


@pytest.mark.parametrize("middleware", [Passes, Translates])
def test_an_error_of_a_mounted_application_passes_a_middleware(stage: InProcessStage, server_log, middleware):
    """What a mounted application has logged is taken out on its way, too, and not what was made of it there."""

    async def endpoint() -> None:
        raise KeyError("boom")

    stage.render()
    outer = stage.app()
    outer.add_middleware(middleware)
    outer.mount("/inner", stage.app(endpoint))
    asyncio.run(serve_once(outer, path="/inner/"))
    assert messages(server_log) == ([] if middleware is Passes else ["Exception in ASGI application"]) + REST
    assert len(stage.lines("request.failed")) == 1


def test_an_error_that_a_mounted_application_does_not_log_is_printed(stage: InProcessStage, server_log):
    """What an application inside reports without a line is printed by the server, whatever is logged around it."""

    async def endpoint() -> None:
        raise KeyError("boom")

    stage.render()
    outer = stage.app()
    outer.mount("/inner", stage.app(endpoint, logs=False))
    asyncio.run(serve_once(outer, path="/inner/"))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def drop(*_):
    """Drop a line, as a processor may."""
    raise structlog.DropEvent


def too_late(*_):
    """Fail, as a processor may."""
    raise KeyError("event")


@pytest.mark.parametrize("what", ["task", "request"])
@pytest.mark.parametrize(
    "renderers",
    [(drop,), (too_late,), (structlog.processors.JSONRenderer(),)],
    ids=["dropped", "faulty", "without traceback"],
)
@pytest.mark.faults
def test_a_line_that_did_not_go_out_reports_nothing(stage: InProcessStage, server_log, what, renderers):
    """If our line was dropped, could not be written or had no traceback, the server's traceback stays."""
    stage.render(*renderers)
    asyncio.run(serve_once(failing(stage, what)))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def failing(stage: InProcessStage, what: str):
    """Make an application whose task or whose endpoint fails."""

    async def endpoint() -> None:
        raise KeyError("boom")

    return stage.app(endpoint) if what == "request" else stage.app_with(stage.fails("mail"))


@pytest.mark.parametrize("what", ["task", "request"])
def test_a_level_that_is_off_reports_nothing(stage: InProcessStage, server_log, what):
    """If errors are below the level of the log, the server's traceback stays."""
    stage.render()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(serve_once(failing(stage, what)))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


class Deaf(logging.Handler):
    """Writes nothing below critical."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)


@pytest.fixture(params=["", "structlog"])
def stdlib_log(request, stage):
    """Provide the stdlib logger `afterword`, cut off from all others: used by itself, or at structlog's end."""
    structlog.reset_defaults()
    if request.param:
        structlog.configure(
            processors=[structlog.stdlib.render_to_log_kwargs],
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=False,
        )
    logger = logging.getLogger("afterword")
    handlers, logger.propagate = logger.handlers, False
    yield logger
    logger.handlers, logger.propagate = handlers, True
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("handler", [logging.NullHandler, Deaf])
def test_a_logger_nobody_listens_to_reports_nothing(stage: InProcessStage, server_log, stdlib_log, handler):
    """If no handler of the standard library writes our line, the server's traceback stays."""
    stdlib_log.handlers = [handler()]
    asyncio.run(serve_once(failing(stage, "task")))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_a_stdlib_level_that_is_off_reports_nothing(stage: InProcessStage, server_log, stdlib_log):
    """If the logger of the standard library is set above errors, the server's traceback stays."""
    stdlib_log.handlers = [Kept()]
    stdlib_log.setLevel(logging.CRITICAL)
    asyncio.run(serve_once(failing(stage, "task")))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_a_line_of_the_standard_library_reports(stage: InProcessStage, server_log, stdlib_log):
    """If a handler of the standard library writes our line, the traceback is printed once."""
    handler = Kept()
    stdlib_log.handlers = [handler]
    asyncio.run(serve_once(failing(stage, "task")))
    assert messages(server_log) == REST
    assert [record.exc_info[0] for record in handler.records if record.exc_info] == [ValueError]


def test_the_line_of_an_error_task_reports_itself_only(stage: InProcessStage, server_log):
    """A logged failure of a user's error task does not stand for the error of the request."""

    async def endpoint() -> None:
        raise KeyError("boom")

    def only_tasks(_, __, entry):
        if entry["event"] == "request.failed":
            raise structlog.DropEvent
        return str(entry) + "test_log_helpers.py stage.py"

    stage.render(only_tasks)
    asyncio.run(serve_once(stage.app(endpoint, on_request_error=[stage.fails("notify")])))
    assert len(stage.lines("background_task.failed")) == 1
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_without_our_lines_the_server_prints(stage: InProcessStage, server_log):
    """If our own log is off, the server's traceback is the only one and stays."""
    asyncio.run(serve_once(stage.app_with(stage.fails("mail"), logs=False)))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_other_applications_are_not_filtered(stage: InProcessStage, server_log):
    """An error of an application that is not instrumented is printed by the server."""

    async def endpoint() -> None:
        raise KeyError("boom")

    stage.app()
    foreign = stage.fastapi()
    foreign.get("/")(endpoint)
    asyncio.run(serve_once(foreign))
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_a_vanished_client_is_not_filtered(stage: InProcessStage, server_log):
    """What we did not log is not taken out: an error that is no failed request, say."""
    from starlette.requests import ClientDisconnect

    async def endpoint() -> None:
        raise ClientDisconnect

    asyncio.run(serve_once(stage.app(endpoint)))
    assert stage.lines("request.failed") == []
    assert messages(server_log) == ["Exception in ASGI application", *REST]


def test_odd_records_pass():
    """Records without an exception, or with `exc_info=True` outside of one, are news."""
    make = logging.LogRecord
    for exc_info in (None, (None, None, None), True):
        assert ReportedFilter().filter(make("x", logging.ERROR, "x.py", 1, "news", (), exc_info))


class Gives504:
    """Answers when its application is cancelled, and lets the cancellation go on."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            await JSONResponse({}, 504)(scope, receive, send)
            raise


class AtOnce:
    """Allows an application no time at all, and fails with a `TimeoutError`."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        async with asyncio.timeout(0):
            await self.app(scope, receive, send)


def test_what_a_reported_cancellation_became_is_not_filtered(stage: InProcessStage, server_log):
    """That a mounted application has told its cancellation does not hide the error that came of it outside."""

    async def endpoint() -> None:
        await asyncio.Event().wait()

    stage.render()
    inner, outer = stage.app(endpoint), stage.app()
    inner.add_middleware(Gives504)
    outer.add_middleware(AtOnce)
    outer.mount("/inner", inner)
    asyncio.run(serve_once(outer, path="/inner/"))
    assert [line["error_type"] for line in stage.lines("request.failed")] == ["asyncio.exceptions.CancelledError"]
    assert messages(server_log) == ["Exception in ASGI application", *REST]
