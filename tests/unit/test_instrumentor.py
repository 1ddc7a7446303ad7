"""Zero code: applications that have never heard of us."""

import re
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest
from fastapi import BackgroundTasks, FastAPI

import afterword
from afterword.instrumentor import BackgroundTaskInstrumentor
from tests.support.asgi import ask
from tests.support.in_process import SILENT, InProcessStage
from tests.support.originals import assert_originals_are_back


@pytest.fixture
def instrumentor(stage: InProcessStage) -> Iterator[BackgroundTaskInstrumentor]:
    """Provide an instrumentor that sees every application, and tells the stage's accounts."""
    instrumentor = BackgroundTaskInstrumentor()
    instrumentor.instrument(observers=[stage.accounts.recorder], **stage.settings)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


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


def test_a_bad_variable_is_named(stage: InProcessStage, monkeypatch: pytest.MonkeyPatch):
    """A variable that is neither true nor false is an error that names it."""
    monkeypatch.setenv("AFTERWORD_TRACES", "perhaps")
    with pytest.raises(ValueError, match=re.escape("AFTERWORD_TRACES: true or false is needed, not 'perhaps'")):
        BackgroundTaskInstrumentor.instrument_app(application(stage))


def test_opentelemetry_finds_it():
    """opentelemetry-instrument finds the instrumentor by its entry point."""
    [found] = entry_points(group="opentelemetry_instrumentor", name="afterword")
    assert found.load() is BackgroundTaskInstrumentor
    assert BackgroundTaskInstrumentor().instrumentation_dependencies() == ("starlette >= 0.37.2",)
