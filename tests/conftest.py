"""What all tests share: names that nobody has used up, a stage, and the comparison of bare with instrumented."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Generator, Iterator
from typing import Any

import pytest

with warnings.catch_warnings():  # the oldest Starlette imports python-multipart by its old name
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    import starlette.formparsers  # noqa: F401

from afterword._common import cardinality as bounds
from afterword._common import task_names
from afterword._common.log import once
from afterword.instrumentor import BackgroundTaskInstrumentor
from tests.support.accounts import restored_structlog
from tests.support.comparison import Behaviour, Comparison, compared_in
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs
from tests.support.telemetry_modes import MODES, TelemetryMode
from tests.support.versions import NATIVE_TELEMETRY

pytest_plugins = ["pytester"]  # for the tests of our own plugin


def pytest_configure(config: pytest.Config) -> None:
    """Bear with what the oldest supported versions warn about, and with nothing else."""
    if not NATIVE_TELEMETRY:
        config.addinivalue_line("filterwarnings", "ignore:Unclosed <MemoryObject:ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what starts interpreters: each takes seconds to import everything anew."""
    for item in items:
        module = getattr(item, "module", None)
        if hasattr(module, "run_fresh") or hasattr(module, "subprocess"):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's sight: many tests wait for a collection."""
    import hypothesis  # noqa: F401  as it is imported, it asks the collector who refers to trio's random numbers

    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """Forget what a module has left behind: else a collection takes half a second late in a session."""
    torn_down = yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()
    return torn_down


@pytest.fixture(autouse=True)
def unbounded_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test count its names from zero: the bounds are the process's."""
    for bound in (bounds.TASK_NAMES, bounds.ROUTES, bounds.ERROR_TYPES):
        monkeypatch.setattr(bound, "_seen", {})
    monkeypatch.setattr(task_names, "_declared", {})
    monkeypatch.setattr(task_names, "_plain", {})


@pytest.fixture(autouse=True)
def unsaid() -> None:
    """Let every test hear what is said once a process."""
    once.forget()


class Faults(logging.Handler):
    """Keeps what Afterword logs as a fault of its own, or of an observer, or OpenTelemetry of its context."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("afterword: "):
            self.messages.append(message)


@pytest.fixture(autouse=True)
def faultless(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a unit test in which a part of ours fails: it is contained, so the test alone would not notice."""
    logger, faults = logging.getLogger("afterword"), Faults()
    logger.addHandler(faults)
    yield
    logger.removeHandler(faults)
    if request.node.get_closest_marker("faults") is None and "unit" in request.node.path.parts:
        assert not faults.messages


@pytest.fixture
def stage() -> Iterator[InProcessStage]:
    """Provide a stage in this process, whose log lines are kept; afterwards nothing may be left patched."""
    with restored_structlog():
        stage = InProcessStage()
        stage.accounts.lines.configure()
        yield stage
        stage.close()


@pytest.fixture
def kept_logs() -> Iterator[KeptLogs]:
    """Provide an OpenTelemetry logger provider that keeps its records."""
    kept = KeptLogs()
    yield kept
    kept.provider.shutdown()


@pytest.fixture
def instrumentor() -> Iterator[BackgroundTaskInstrumentor]:
    """Provide OpenTelemetry's instrumentor of ours, which a test may use; afterwards it is undone."""
    instrumentor = BackgroundTaskInstrumentor()
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


@pytest.fixture(
    params=[
        pytest.param(mode, id=mode.name, marks=[pytest.mark.slow] if mode.contrib is not None else [])
        for mode in MODES
    ]
)
def telemetry_mode(request: pytest.FixtureRequest) -> TelemetryMode:
    """Return each telemetry mode of the installed FastAPI in turn."""
    mode: TelemetryMode = request.param
    return mode


@pytest.fixture(scope="session")
def bare_behaviours() -> dict[Any, Behaviour]:
    """Keep how applications behave without Afterword, so that each is played bare only once."""
    return {}


@pytest.fixture
def comparison(
    telemetry_mode: TelemetryMode, bare_behaviours: dict[Any, Behaviour], request: pytest.FixtureRequest
) -> Iterator[Comparison]:
    """Provide a comparison for one telemetry mode; afterwards nothing may be left patched."""
    others = {name: value for name, value in request.node.callspec.params.items() if name != "telemetry_mode"}
    key = (request.node.path, request.node.originalname, repr(others))
    with compared_in(telemetry_mode, bare_behaviours, key) as comparison:
        yield comparison
