"""Who traces the requests: FastAPI where it can, contrib where it cannot, and never both."""

import logging

import pytest
from fastapi import BackgroundTasks
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

import afterword
from afterword._starlette import interop as request_tracing
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import succeeded
from tests.support.versions import native_only


@pytest.fixture(autouse=True)
def no_native(request, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let our code take the installed FastAPI for one that cannot trace."""
    if "native" not in request.node.name:
        monkeypatch.setattr(request_tracing, "has_native", lambda: False)


def request_spans(stage: InProcessStage) -> list[str]:
    """Return the names of the spans that are no run's and have no parent."""
    return [span.name for span in stage.accounts.spans.all() if span.parent is None]


def test_contrib_traces_the_requests_of_an_old_fastapi(stage: InProcessStage):
    """A FastAPI that cannot trace gets contrib's instrumentation, and tasks are in the request's trace."""
    ask(stage.app_with(stage.works("mail")))
    assert request_spans(stage) == ["GET /"]
    assert len({span.context.trace_id for span in stage.accounts.spans.all()}) == 1
    stage.assert_story(succeeded("mail"))


def test_a_task_is_a_child_of_its_request(stage: InProcessStage):
    """A task's span is a child of the request's, also where the endpoint has a span of its own open."""
    tracer = stage.settings["tracer_provider"].get_tracer("mine")

    async def endpoint(background: BackgroundTasks) -> None:
        with tracer.start_as_current_span("ordering"):
            background.add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    of_request = next(span for span in stage.accounts.spans.all() if span.parent is None)
    assert stage.accounts.spans.of("mail").parent.span_id == of_request.context.span_id


def test_contrib_goes_with_us(stage: InProcessStage):
    """What we have instrumented we un-instrument; requests are not traced any more."""
    app = stage.app_with(stage.works("mail"))
    afterword.uninstrument(app)
    ask(app)
    assert stage.accounts.spans.all() == ()


def test_contrib_that_was_there_stays(stage: InProcessStage):
    """Contrib's instrumentation of the user's own is not applied twice, and not taken away."""
    app = stage.fastapi()
    app.get("/")(lambda: None)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=stage.settings["tracer_provider"])
    stage.instrument(app)
    ask(app)
    assert request_spans(stage) == ["GET /"]
    afterword.uninstrument(app)
    ask(app)
    assert request_spans(stage) == ["GET /"] * 2
    FastAPIInstrumentor.uninstrument_app(app)


def test_contrib_that_the_user_removed(stage: InProcessStage):
    """`uninstrument` does not mind that contrib's instrumentation is gone already."""
    app = stage.app_with(stage.works("mail"))
    FastAPIInstrumentor.uninstrument_app(app)
    afterword.uninstrument(app)
    ask(app)
    assert stage.accounts.spans.all() == ()


def test_scrapes_are_not_traced_by_contrib(stage: InProcessStage):
    """Our endpoint is excluded, and no address that only looks like it."""
    app = stage.app_with(stage.works("mail"))
    app.get("/metrics/of/mine")(lambda: None)
    ask(app, "/metrics")
    assert request_spans(stage) == []
    ask(app, "/metrics/of/mine")
    assert request_spans(stage) == ["GET /metrics/of/mine"]


@pytest.mark.parametrize("variable", ["OTEL_PYTHON_FASTAPI_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"])
@pytest.mark.parametrize("metrics_path", ["/metrics", None])
def test_what_the_user_excludes_stays_excluded(stage: InProcessStage, monkeypatch, variable, metrics_path):
    """Addresses that the environment excludes are not traced, beside our own."""
    monkeypatch.setenv(variable, "health")
    app = stage.app_with(stage.works("mail"), metrics_path=metrics_path)
    app.get("/health")(lambda: None)
    for path in ("/health", "/metrics", "/"):
        ask(app, path)
    traced_scrape = [] if metrics_path else ["GET"]
    assert request_spans(stage) == [*traced_scrape, "GET /"]


def test_an_application_that_serves_already_is_warned_about(stage: InProcessStage, caplog):
    """Contrib cannot be applied to an application that has served; that is said, and tasks are still traced."""
    app = stage.fastapi()
    app.get("/")(lambda: None)
    ask(app)
    stage.instrument(app)
    [record] = [record for record in caplog.records if "cannot be traced" in record.getMessage()]
    assert record.levelno == logging.WARNING


def test_without_traces_nobody_is_asked(stage: InProcessStage):
    """With `traces=False` requests are not traced either."""
    ask(stage.app_with(stage.works("mail"), traces=False))
    assert stage.accounts.spans.all() == ()


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        *(("fastapi", []), ("*", []), ("flask , fastapi", [])),
        *(("", ["GET /"]), ("afterword,starlette", ["GET /"]), ("fastapi-users", ["GET /"])),
    ],
)
def test_contrib_is_left_off_where_the_environment_disables_it(stage: InProcessStage, monkeypatch, value, spans):
    """Who disables contrib's instrumentation of FastAPI gets no requests traced; tasks are traced all the same."""
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", value)
    app = stage.app_with(stage.works("mail"))
    assert getattr(app, "_is_instrumented_by_opentelemetry", False) is bool(spans)
    ask(app)
    assert [name for name in request_spans(stage) if name.startswith("GET")] == spans
    stage.assert_story(succeeded("mail"))


@native_only
def test_native_telemetry_keeps_what_the_user_excludes(stage: InProcessStage):
    """Our exclusion goes beside the user's own, and with us again."""

    def healthy(scope) -> bool:
        return scope["path"] == "/health"

    app = stage.native(telemetry={"tracer_provider": stage.settings["tracer_provider"], "exclude": healthy})
    for path in ("/health", "/"):
        app.get(path)(lambda: None)
    stage.instrument(app)
    for path in ("/health", "/metrics", "/"):
        ask(app, path)
    assert request_spans(stage) == ["GET /"]
    afterword.uninstrument(app)
    assert app._native_telemetry.config["exclude"] is healthy


@native_only
def test_native_telemetry_is_enough(stage: InProcessStage):
    """A FastAPI that traces itself is not instrumented with contrib as well."""
    app = stage.native()
    app.get("/")(lambda: None)
    stage.instrument(app)
    ask(app)
    assert request_spans(stage) == ["GET /"]
    assert not getattr(app, "_is_instrumented_by_opentelemetry", False)
