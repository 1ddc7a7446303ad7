"""Spans: whose they are, what is on them, in which trace."""

import pytest
from fastapi import BackgroundTasks
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from starlette.background import BackgroundTask
from starlette.responses import Response

from tests.support.accounts import Spans
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage, plain_app
from tests.support.versions import NATIVE_TELEMETRY, native_only
from tests.unit.test_bad_input import Wordless

TYPES = {
    "background_task.name": str,
    "background_task.run.id": str,
    "background_task.outcome": str,
    "background_task.wait": float,
    "http.route": str,
}


def types_of(span: ReadableSpan) -> dict[str, type]:
    """Return the types of a span's attributes."""
    return {key: type(value) for key, value in span.attributes.items()}


def native_app(stage: InProcessStage, *tasks, **options):
    """Make an instrumented application with telemetry of its own, whose endpoint schedules tasks."""
    app = stage.native()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        for task in tasks:
            background.add_task(task)

    return stage.instrument(app, **options)


def test_the_attributes_of_a_success(stage: InProcessStage):
    """A span of ours has these attributes and no others, each of its type."""
    ask(stage.app_with(stage.works("mail"), traces=True))
    span = stage.accounts.spans.of("mail")
    assert types_of(span) == TYPES
    assert span.attributes["background_task.outcome"] == "succeeded"
    assert span.attributes["http.route"] == "/"
    assert span.kind is SpanKind.INTERNAL
    assert span.instrumentation_scope.name == "afterword"
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


def test_the_attributes_of_a_failure(stage: InProcessStage):
    """A failure has an error type, a reason, an exception event and an error status."""
    ask(stage.app_with(stage.fails_in_thread("mail")))
    span = stage.accounts.spans.of("mail")
    added = {"background_task.thread_wait": float, "background_task.reason": str, "error.type": str}
    assert types_of(span) == TYPES | added
    assert (span.attributes["error.type"], span.attributes["background_task.reason"]) == (
        "ValueError",
        "exception",
    )
    assert [event.name for event in span.events] == ["exception"]
    assert span.events[0].attributes["exception.message"] == "boom"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description


def test_a_run_that_never_started_has_a_span(stage: InProcessStage):
    """A dropped run is a span from scheduling to the end of its request, in error, saying why."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))
        raise KeyError("boom")

    ask(stage.app(endpoint))
    span, [run] = stage.accounts.spans.of("mail"), stage.accounts.recorder.ended_runs
    added = {"background_task.reason": str, "error.type": str, "exception.message": str}
    added["http.response.status_code"] = int
    assert types_of(span) == {k: v for k, v in (TYPES | added).items() if k != "background_task.wait"}
    assert span.attributes["error.type"] == run.error_type == "KeyError"
    assert span.start_time == pytest.approx(run.scheduled_at * 1e9, abs=1e6)
    assert span.end_time >= span.start_time
    assert span.status.description == run.detail


@native_only
@pytest.mark.parametrize("fails", [False, True])
def test_an_adopted_span_says_the_same(stage: InProcessStage, fails):
    """The span that FastAPI opens for a task becomes the run's, with the same attributes and types."""
    ask(native_app(stage, (stage.fails if fails else stage.works)("mail")))
    span = stage.accounts.spans.of("mail")
    assert span.instrumentation_scope.name == "fastapi"
    assert span.name == "background_task shop.mail"
    types = types_of(span)
    assert {key: types.get(key) for key in TYPES} == TYPES
    assert span.attributes["background_task.outcome"] == ("failed" if fails else "succeeded")
    assert [event.name for event in span.events].count("exception") == int(fails)
    assert span.status.status_code is (StatusCode.ERROR if fails else StatusCode.UNSET)
    [run] = stage.accounts.recorder.ended_runs
    assert run.span_id == f"{span.context.span_id:016x}"


@pytest.mark.parametrize(("value", "recorded"), [("logs", 0), ("logs/dup", 1), ("", 1), (" logs , x", 0)])
def test_exceptions_as_logs(stage: InProcessStage, monkeypatch, value, recorded):
    """`OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN=logs` keeps exception events off our spans."""
    monkeypatch.setenv("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", value)
    ask(stage.app_with(stage.fails("mail")))
    span = stage.accounts.spans.of("mail")
    assert len(span.events) == recorded
    assert span.attributes["error.type"] == "ValueError"


def test_tasks_are_children_of_what_scheduled_them(stage: InProcessStage):
    """Where the request has no span, a task's is a child of the span that was current when it was scheduled."""
    tracer = stage.settings["tracer_provider"].get_tracer("mine")
    seen = []

    async def endpoint(request) -> Response:
        with tracer.start_as_current_span("ordering") as span:
            seen.append(span.get_span_context().span_id)
            return Response(background=BackgroundTask(stage.works("mail")))

    ask(stage.instrument(plain_app("/", endpoint)))
    assert stage.accounts.spans.of("mail").parent.span_id == seen[0]


def test_a_task_of_no_trace_is_a_child_of_what_calls_it(stage: InProcessStage):
    """Where no span was open when a task was scheduled, its parent is the one that is open when it is called."""
    tracer = stage.accounts.spans.provider.get_tracer("test")

    async def endpoint(request) -> Response:
        task = BackgroundTask(stage.works("mail"))
        with tracer.start_as_current_span("by hand"):
            await task()
        return Response()

    ask(stage.instrument(plain_app("/", endpoint)))
    by_hand = next(span for span in stage.accounts.spans.all() if span.name == "by hand")
    assert stage.accounts.spans.of("mail").parent.span_id == by_hand.context.span_id


def test_spans_of_a_task_are_children_of_its_span(stage: InProcessStage):
    """What a task traces itself is inside its span, on the event loop and in a thread."""
    tracer = stage.settings["tracer_provider"].get_tracer("mine")

    async def on_loop() -> None:
        tracer.start_span("inner on_loop").end()

    def in_thread() -> None:
        tracer.start_span("inner in_thread").end()

    ask(stage.app_with(on_loop, in_thread))
    for name in ("on_loop", "in_thread"):
        [inner] = [span for span in stage.accounts.spans.all() if span.name == f"inner {name}"]
        assert inner.parent.span_id == stage.accounts.spans.of(name).context.span_id


def test_the_current_span_is_restored(stage: InProcessStage):
    """After a task its span is not current any more, whether it failed or not."""
    seen = []

    async def endpoint() -> None:
        before = get_current_span()
        await BackgroundTask(stage.works("mail"))()
        seen.append(get_current_span() is before)
        try:
            await BackgroundTask(stage.fails("report"))()
        except ValueError:
            seen.append(get_current_span() is before)

    ask(stage.app(endpoint))
    assert seen == [True, True]


@pytest.mark.parametrize("text", ["raises", "works"])
def test_the_current_span_is_restored_after_a_wordless_error(stage: InProcessStage, text):
    """The span of a task whose exception cannot be printed ends, and is not left current for what follows."""
    seen = []

    async def endpoint() -> None:
        before = get_current_span()
        try:
            await BackgroundTask(stage.fails("mail", Wordless() if text == "raises" else KeyError()))()
        except Exception:
            seen.append(get_current_span() is before)

    ask(stage.app(endpoint))
    assert seen == [True]
    assert len(stage.accounts.spans.of_runs()) == 1


def test_unsampled_runs_have_no_span_and_no_attributes(stage: InProcessStage):
    """With a sampler that drops everything nothing is exported, and the run still knows its trace."""
    spans = Spans()
    spans.provider.sampler = ALWAYS_OFF
    ask(stage.app_with(stage.works("mail"), stage.fails("report"), tracer_provider=spans.provider))
    assert spans.all() == ()
    assert all(run.trace_id and not run.sampled for run in stage.accounts.recorder.ended_runs)
    spans.provider.shutdown()


def test_applications_with_providers_of_their_own(stage: InProcessStage):
    """Each application's tasks go to its own tracer provider."""
    others = [Spans(), Spans()]
    others[1].provider.sampler = TraceIdRatioBased(1.0)
    for spans, name in zip(others, ("mail", "report"), strict=True):
        ask(stage.app_with(stage.works(name), tracer_provider=spans.provider))
    assert [span.name for span in others[0].of_runs()] == ["background_task shop.mail"]
    assert [span.name for span in others[1].of_runs()] == ["background_task shop.report"]
    assert stage.accounts.spans.of_runs() == []
    for spans in others:
        spans.provider.shutdown()


def test_without_traces_no_span_is_touched(stage: InProcessStage):
    """With `traces=False` no span of ours is opened, and FastAPI's own is left as it is."""
    app = native_app(stage, stage.works("mail"), traces=False)
    ask(app)
    assert stage.accounts.spans.of_runs() == []
    theirs = [span.name for span in stage.accounts.spans.all() if "background_task" in span.name]
    assert theirs == ["fastapi.background_task"] * NATIVE_TELEMETRY
    assert stage.outcomes == [("mail", "succeeded")]
