"""Zero code: applications that have never heard of us."""

from importlib.metadata import entry_points

import pytest
from fastapi import BackgroundTasks, FastAPI

import afterword
from afterword.instrumentor import BackgroundTaskInstrumentor
from tests.support.asgi import ask
from tests.support.in_process import SILENT, InProcessStage
from tests.support.originals import assert_originals_are_back


@pytest.fixture
def instrumentor(stage: InProcessStage, instrumentor: BackgroundTaskInstrumentor) -> BackgroundTaskInstrumentor:
    """Provide an instrumentor that sees every application, and tells the stage's accounts."""
    instrumentor.instrument(observers=[stage.accounts.recorder], **stage.settings)
    return instrumentor


def application(stage: InProcessStage) -> FastAPI:
    """Make an application that has never heard of us, with one task."""
    app = FastAPI(**SILENT)

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))

    return app


def test_an_unmodified_application_is_accounted_for(stage: InProcessStage, instrumentor):
    """Its first request already is in the account, and it has a /metrics."""
    app = application(stage)
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    assert "background_task_ended_total" in ask(app, "/metrics").text
    afterword.uninstrument(app)


def test_explicit_wins(stage: InProcessStage, instrumentor):
    """An application that instruments itself keeps its own settings; one that takes us out stays without."""
    app = application(stage)
    afterword.instrument(app, registry=None, metrics=False, traces=False, logs=False)
    ask(app)
    assert stage.outcomes == []
    afterword.uninstrument(app)
    seen = application(stage)
    ask(seen)
    afterword.uninstrument(seen)
    ask(seen)
    assert stage.outcomes == [("mail", "succeeded")]


def test_uninstrumenting_gives_the_classes_back(stage: InProcessStage, instrumentor):
    """Applications that are called afterwards are not seen, and no method stays patched."""
    instrumentor.uninstrument()
    ask(application(stage))
    assert stage.outcomes == []
    assert_originals_are_back()


def test_one_application(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """instrument_app takes the settings of the environment, and arguments win over it."""
    monkeypatch.setenv("AFTERWORD_METRICS_PATH", "none")
    monkeypatch.setenv("AFTERWORD_LOGS", "off")
    app = application(stage)
    BackgroundTaskInstrumentor.instrument_app(app, observers=[stage.accounts.recorder], **stage.settings)
    ask(app)
    assert stage.outcomes == [("mail", "succeeded")]
    assert ask(app, "/metrics").status == 404
    assert not stage.accounts.lines.story().ended
    BackgroundTaskInstrumentor.uninstrument_app(app)


SLIPS = {
    "AFTERWORD_TRACES": ("nope", "true or false is needed, not 'nope'; it is true"),
    "AFTERWORD_METRICS": ("2", "true or false is needed, not '2'; it is true"),
    "AFTERWORD_LOGS": ("ja", "true or false is needed, not 'ja'; it is true"),
    "AFTERWORD_NEW_TRACE": ("x", "true or false is needed, not 'x'; it is false"),
    "AFTERWORD_OTEL_LOGS": ("x", "true or false is needed, not 'x'; it is false"),
    "AFTERWORD_METRICS_PATH": (
        "metrics",
        "a path that starts with a slash, or none, is needed, not 'metrics'; it is /metrics",
    ),
    "AFTERWORD_CLIENT_ERROR_LEVEL": (
        "loud",
        "one of debug, info, warning, error is needed, not 'loud'; it is debug",
    ),
    "AFTERWORD_DISABLED": ("ture", "true or false is needed, not 'ture'; it is false"),
}


def assert_accounted(stage: InProcessStage) -> None:
    """Assert that two applications without code have their account, with all signals, and /metrics."""
    instrumentor = BackgroundTaskInstrumentor()
    instrumentor.instrument(observers=[stage.accounts.recorder], **stage.settings)
    try:
        for app in (application(stage), application(stage)):
            ask(app)
            assert "background_task_ended_total" in ask(app, "/metrics").text
            afterword.uninstrument(app)
    finally:
        instrumentor.uninstrument()
    assert stage.outcomes == [("mail", "succeeded")] * 2
    assert len(stage.accounts.spans.of_runs()) == len(stage.lines("background_task.succeeded")) == 2


@pytest.mark.parametrize("variable", SLIPS)
def test_a_variable_that_cannot_be_read(stage: InProcessStage, monkeypatch, caplog, variable):
    """A slip in a variable is one warning that names it, and the default holds: it costs nothing else."""
    value, complaint = SLIPS[variable]
    monkeypatch.setenv(variable, value)
    assert_accounted(stage)
    said = [record for record in caplog.records if variable in record.getMessage()]
    assert [(record.levelname, record.getMessage()) for record in said] == [
        ("WARNING", f"afterword: {variable}: {complaint}")
    ]


@pytest.mark.parametrize("variable", SLIPS)
def test_an_empty_variable_is_none(stage: InProcessStage, monkeypatch, caplog, variable):
    """An empty value is as if the variable were not set, and nothing is said of it."""
    monkeypatch.setenv(variable, " ")
    assert_accounted(stage)
    assert variable not in caplog.text


def test_an_argument_that_cannot_be_is_an_error(stage: InProcessStage):
    """What code passes is refused with its name, as by `instrument`."""
    with pytest.raises(ValueError, match="metrics_path: 'metrics' must start with a slash"):
        BackgroundTaskInstrumentor.instrument_app(application(stage), metrics_path="metrics")


def test_opentelemetry_finds_it():
    """opentelemetry-instrument finds the instrumentor by its entry point."""
    [found] = entry_points(group="opentelemetry_instrumentor", name="afterword")
    assert found.load() is BackgroundTaskInstrumentor
    assert BackgroundTaskInstrumentor().instrumentation_dependencies() == ("starlette >= 0.37.2",)
