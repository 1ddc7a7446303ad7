"""Functions, exceptions, processors and exporters that misbehave: the task runs, the fault is told once."""

import logging
from asyncio import CancelledError
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from fastapi import BackgroundTasks
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from starlette.responses import PlainTextResponse

from afterword._common.log import Once
from afterword._starlette import patching as shapes
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage, plain_app
from tests.support.stage import Odd
from tests.support.story import failed, succeeded
from tests.support.versions import NATIVE_TELEMETRY


class Wordless(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def test_an_exception_without_a_text(stage: InProcessStage):
    """A task that raises what cannot be printed fails, in every signal, and the exception comes out unchanged."""
    wordless = Wordless()
    answer = ask(stage.app_with(stage.fails("mail", wordless)))
    assert answer.error is wordless
    [run] = stage.accounts.recorder.ended_runs
    assert (run.outcome, run.error_type) == ("failed", f"{__name__}.Wordless")
    stage.assert_story(failed("mail", f"{__name__}.Wordless"))


def test_a_request_that_fails_without_a_text(stage: InProcessStage):
    """An unprintable exception of an endpoint is answered and reported like any other."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise Wordless

    # contrib, which traces an old FastAPI, fails at the text
    answer = ask(stage.app(endpoint, traces=NATIVE_TELEMETRY))
    assert answer.status == 500
    assert type(answer.error) is Wordless
    assert stage.outcomes == [("mail", "dropped")]
    assert len(stage.lines("request.failed")) == 1


# a library's fault may be anything, down to what a cancelled future of its own raises
FAULTS = pytest.mark.parametrize("fault", [OSError, CancelledError, Odd])


@FAULTS
@pytest.mark.faults
def test_a_structlog_processor_that_raises(stage: InProcessStage, caplog, fault):
    """A broken logging configuration costs the lines, not the tasks; it is counted and said once."""

    def broken(logger, method, event_dict) -> Any:
        raise fault("event")

    app = stage.app_with(stage.works("mail"))
    structlog.configure(processors=[broken], cache_logger_on_first_use=False)
    for _ in range(2):
        assert ask(app).status == 200
    assert stage.outcomes == [("mail", "succeeded")] * 2
    assert stage.observer_errors("Logs") == 6
    faults = [record.getMessage() for record in caplog.records if record.name == "afterword"]
    assert len(faults) == 3  # once for each transition
    assert all("logged once" in fault for fault in faults)


class BrokenHandler(logging.Handler):
    """Cannot write."""

    def __init__(self, fault: type[BaseException]) -> None:
        super().__init__()
        self.fault = fault

    def emit(self, record: logging.LogRecord) -> None:
        raise self.fault("disk full")


@pytest.fixture(params=[OSError, CancelledError, Odd])
def broken_stdlib_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let everything that Afterword logs through the standard library raise."""
    structlog.reset_defaults()
    logger, handler = logging.getLogger("afterword"), BrokenHandler(request.param)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.faults
def test_a_stdlib_handler_that_raises(stage: InProcessStage, broken_stdlib_log):
    """A log handler that raises disturbs neither the task nor the response."""
    answer = ask(stage.app_with(stage.works("mail"), metrics_path=None))
    assert (answer.status, answer.error) == (200, None)
    assert stage.outcomes == [("mail", "succeeded")]
    assert stage.observer_errors("Logs") == 3


def test_instrument_survives_a_broken_log(stage: InProcessStage, broken_stdlib_log):
    """An application can be instrumented, route and all, although the address of `/metrics` cannot be logged."""
    app = stage.app_with(stage.works("mail"))
    assert ask(app, "/metrics").status == 200


def test_a_warning_survives_a_broken_log(stage: InProcessStage, broken_stdlib_log):
    """What is only to be warned of stops nobody: an application that serves already is still instrumented."""
    app = stage.fastapi()
    ask(app)
    stage.instrument(app, new_trace=True)
    shapes.warn_once(["a method that only this test lacks"], "nothing follows")
    assert ask(app, "/metrics").status == 200


def test_what_is_said_once_is_bounded():
    """Whatever may be endless, such as the names of damaged files, is said a hundred times at most."""
    once = Once()
    said = [once.first("files", f"file {number % 500} is damaged") for number in range(1000)]
    assert said == [True] * 100 + [False] * 900
    assert once.first("variables", "file 0 is damaged")


class BrokenExporter(SpanExporter):
    """Cannot export."""

    def export(self, spans) -> Any:
        raise OSError("no collector")


class BrokenProcessor(SpanProcessor):
    """Cannot even begin a span."""

    def __init__(self, moment: str, fault: type[BaseException] = OSError) -> None:
        def fail(*_) -> None:
            raise fault("broken")

        setattr(self, moment, fail)


def provider_with(processor: SpanProcessor) -> TracerProvider:
    """Make a tracer provider with one span processor."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


@pytest.mark.parametrize(
    "processor",
    [
        SimpleSpanProcessor(BrokenExporter()),
        BrokenProcessor("on_start"),
        BrokenProcessor("on_end"),
        BrokenProcessor("on_start", CancelledError),
        BrokenProcessor("on_end", Odd),
    ],
    ids=["exporter", "on_start", "on_end", "on_start cancelled", "on_end odd"],
)
@pytest.mark.faults
def test_broken_tracing_costs_no_task(stage: InProcessStage, processor):
    """An exporter or a span processor that raises costs spans, never a task or another signal."""

    async def endpoint(request):
        tasks = BackgroundTasks()
        tasks.add_task(stage.works("mail"))
        tasks.add_task(stage.works_in_thread("report"))
        return PlainTextResponse("yes", background=tasks)

    app = stage.instrument(plain_app("/", endpoint), tracer_provider=provider_with(processor))
    answer = ask(app)
    assert (answer.text, answer.error) == ("yes", None)
    stage.accounts.prometheus.assert_law()
    assert stage.outcomes == [("mail", "succeeded"), ("report", "succeeded")]


@FAULTS
@pytest.mark.faults
def test_tasks_run_although_every_signal_is_broken(stage: InProcessStage, monkeypatch, fault):
    """If all of our own observers raise all the time, the application's behaviour is still its own."""
    from afterword._signals.prometheus import Prometheus
    from afterword._signals.traces import Traces

    def fail(*_) -> None:
        raise fault("broken")

    for cls in (Traces, Prometheus):
        for transition in ("scheduled", "started", "ended", "request_failed", "observer_failed"):
            monkeypatch.setattr(cls, transition, fail)
    app = stage.app_with(stage.works("mail"), stage.works_in_thread("report"))
    assert ask(app).text == '{"answer":"yes"}'
    assert stage.did == ["mail", "report"]
    assert stage.outcomes == [("mail", "succeeded"), ("report", "succeeded")]


@FAULTS
@pytest.mark.faults
def test_a_story_survives_a_fault_of_our_own_parts(stage: InProcessStage, monkeypatch, caplog, fault):
    """A fault in finding the route is counted as ours, said once, and costs the route only."""
    from afterword._starlette import http_route

    def fail(*_) -> None:
        raise fault("broken")

    monkeypatch.setattr(http_route, "route_template", fail)
    app = stage.app_with(stage.works("mail"))
    for _ in range(2):
        assert ask(app).status == 200
    stage.assert_story(succeeded("mail"), succeeded("mail"))
    assert stage.observer_errors("afterword") >= 2
    assert len([record for record in caplog.records if "afterword.route" in record.getMessage()]) == 1
