"""The parts that may be at fault, and how each is struck."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk._logs import LogRecordProcessor
from opentelemetry.sdk.trace import SpanProcessor
from prometheus_client import values

from afterword import TaskObserver
from afterword._common import semconv
from afterword._ledger import runs
from afterword._ledger.instrumentation import get_instrumentation
from afterword._ledger.journal import files, observers
from afterword._ledger.journal.journal import journal_at
from afterword._ledger.journal.segments import Segments
from afterword._setup import instrument
from afterword._signals.logs import Logs
from afterword._signals.multiprocess.shared_file import SharedFile
from afterword._signals.otel_logs import OpenTelemetryLogs
from afterword._signals.otel_metrics import OtelMetrics
from afterword._signals.process_gauges import GaugeWriter
from afterword._signals.prometheus import Prometheus
from afterword._signals.traces import Traces
from tests.fire.faults import OUTCOMES, TRANSITIONS, Fault
from tests.support.in_process import InProcessStage
from tests.support.sdk_logs import KeptLogs

METHODS = ("scheduled", "started", "ended", "request_failed", "tearing_down")

TASKS = ("scheduled", "started", *OUTCOMES)
TOLD = (*TASKS, "request_failed")
_NONSENSE = object()
RAN = ("succeeded", "failed", "cancelled")


@dataclass
class Scene:
    """What a part is put into."""

    stage: InProcessStage
    fault: Fault
    monkeypatch: pytest.MonkeyPatch
    directory: Path

    def __post_init__(self) -> None:
        self.observers: list[TaskObserver] = []
        self.options: dict[str, Any] = {"metrics_path": None}
        self.journal: Any = None

    def strike(self, owner: Any, name: str) -> None:
        """Let a fault strike a function or a method."""
        self.monkeypatch.setattr(owner, name, self.fault.strikes(getattr(owner, name)))


@dataclass(frozen=True)
class Part:
    """A part: the transitions that reach it, whose signal it is, and as whose fault its faults are counted."""

    name: str
    reached_in: tuple[str, ...]
    signal: str | None
    counted_as: str | None
    before: Callable[[Scene], None] = lambda scene: None
    """Strikes what is there before the application is instrumented."""
    after: Callable[[Scene, Any], None] = lambda scene, app: None
    """Strikes what is there only then."""
    library_catches: type[BaseException] | None = None
    """What does not come out of the library that calls the part."""
    is_locked: bool = False
    """Whether its library calls it under a lock: what blocks it blocks all who use that library."""
    may_raise: bool = True
    is_off_at_once: bool = False
    """Whether its first fault is its last, as it is switched off."""
    nonsense: object = _NONSENSE


# --- observers ----------------------------------------------------------------------------------------------


def _users_observer(scene: Scene) -> None:
    scene.observers.append(type("Users", (TaskObserver,), {name: scene.fault.strikes() for name in METHODS})())


def _observer(cls: type[TaskObserver]) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        for name in METHODS:
            if getattr(cls, name) is not getattr(TaskObserver, name):
                scene.strike(cls, name)

    return strike


# --- what the observers write to ----------------------------------------------------------------------------


def _span_processor(scene: Scene) -> None:
    methods = {name: scene.fault.strikes() for name in ("on_start", "on_end")}
    scene.stage.accounts.spans.provider.add_span_processor(type("Struck", (SpanProcessor,), methods)())


def _span_exporter(scene: Scene) -> None:
    scene.strike(scene.stage.accounts.spans.exporter, "export")


def _log_processor(scene: Scene) -> None:
    pass_on = scene.fault.strikes(lambda logger, level, entry: entry)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, pass_on, scene.stage.accounts.lines],
        cache_logger_on_first_use=False,
    )


class _Handler(logging.Handler):
    def __init__(self, strike: Callable[..., Any]) -> None:
        super().__init__()
        self._strike = strike

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().startswith("afterword: "):  # the line that tells of the fault itself
            self._strike()


def _log_handler(scene: Scene) -> None:
    scene.stage.render(structlog.stdlib.render_to_log_kwargs)
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    logger = logging.getLogger("afterword")
    scene.monkeypatch.setattr(logger, "handlers", [_Handler(scene.fault.strikes())])
    scene.monkeypatch.setattr(logger, "level", logging.DEBUG)
    logger.manager._clear_cache()  # type: ignore[attr-defined]


class _Store(dict[str, Any]):
    def __init__(self, inner: Any, fault: Fault) -> None:
        super().__init__()
        self._get = fault.strikes(inner.__getitem__)

    def __getitem__(self, name: str) -> Any:
        return self._get(name)


def _registry(scene: Scene, app: Any) -> None:
    [observer] = [each for each in _observers(app) if isinstance(each, Prometheus)]
    scene.monkeypatch.setattr(observer, "_tallies", _Store(observer._tallies, scene.fault))
    count, struck = observer._series.count, scene.fault.strikes()

    def counting(metric: semconv.Metric, *labels: str) -> None:
        if metric is semconv.REQUEST_ERRORS:
            struck()
        count(metric, *labels)

    scene.monkeypatch.setattr(observer._series, "count", counting)


def _meter(scene: Scene, app: Any) -> None:
    [observer] = [each for each in _observers(app) if isinstance(each, OtelMetrics)]
    for name in ("wait", "duration"):
        scene.strike(getattr(observer, name), "record")
    scene.strike(observer._request_errors, "add")


def _observers(app: Any) -> tuple[TaskObserver, ...]:
    instrumentation = get_instrumentation(app)
    assert instrumentation is not None
    return instrumentation.ledger.observers


def _files_of_workers(scene: Scene) -> None:
    """Count in files, as one worker among several does."""
    numbers = scene.directory.parent / "numbers"
    numbers.mkdir()
    scene.monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(numbers))
    scene.monkeypatch.setattr(values, "ValueClass", type("Counts", (), {"_multiprocess": True}))
    scene.monkeypatch.setattr(GaugeWriter, "start", lambda _: None)  # its thread would outlive the test
    write, struck = SharedFile.write_value, scene.fault.strikes()

    def writing(file: Any, key: str, *value: float) -> None:
        if semconv.OBSERVER_ERRORS.prometheus not in key:  # that of the fault itself
            struck()
        write(file, key, *value)

    scene.monkeypatch.setattr(SharedFile, "write_value", writing)


def _record_processor(scene: Scene) -> None:
    strike = scene.fault.strikes()
    kept = KeptLogs()
    # older SDKs call emit
    methods = {name: lambda self, *_: strike() for name in ("on_emit", "emit")}
    methods |= {name: lambda self, *_: True for name in ("shutdown", "force_flush")}
    kept.provider.add_log_record_processor(type("Struck", (LogRecordProcessor,), methods)())
    scene.observers.append(OpenTelemetryLogs(kept.provider, level="debug"))


def _gauge_callback(scene: Scene) -> None:
    """Let somebody read the numbers in the middle of each transition."""
    scene.monkeypatch.setattr(instrument, "oldest_ages", scene.fault.strikes(instrument.oldest_ages))
    reader = scene.stage.accounts.meter.reader

    def read(*_: object) -> None:
        reader.get_metrics_data()

    scene.observers.append(type("Reads", (TaskObserver,), dict.fromkeys(METHODS[:4], read))())


# --- what the ledger stands on ------------------------------------------------------------------------------


def _clock(name: str) -> Callable[[Scene], None]:
    return lambda scene: scene.strike(runs, name)


def _with_journal(scene: Scene) -> None:
    scene.journal = journal_at(str(scene.directory))
    scene.options["journal"] = scene.directory


def _journal_file(scene: Scene) -> None:
    _with_journal(scene)
    scene.strike(observers, "first_part")
    scene.strike(Segments, "append")
    scene.monkeypatch.setattr(
        observers, "STARTED", type("Struck", (), {"pack_into": staticmethod(scene.fault.strikes())})
    )


def _disk(scene: Scene) -> None:
    _with_journal(scene)
    scene.strike(files, "create")


PARTS = (
    Part("a user's observer", TRANSITIONS, None, "Users", _users_observer),
    Part("Traces", (*TASKS, "tearing_down"), "spans", "Traces", _observer(Traces)),
    Part("Logs", TOLD, "log", "Logs", _observer(Logs)),
    Part("Prometheus", TOLD, "prometheus", "Prometheus", _observer(Prometheus)),
    Part("OtelMetrics", TOLD, "otel metrics", "OtelMetrics", _observer(OtelMetrics)),
    Part("a span processor", TASKS[1:], "spans", "Traces", _span_processor),
    Part("the span exporter", OUTCOMES, "spans", "Traces", _span_exporter, library_catches=Exception),
    Part("a log processor", TOLD, "log", "Logs", _log_processor),
    Part("a log handler", TOLD, "log", "Logs", _log_handler, is_locked=True),
    Part("the registry", TOLD, "prometheus", "Prometheus", after=_registry),
    Part("the meter", ("started", *RAN, "request_failed"), "otel metrics", "OtelMetrics", after=_meter),
    Part("a worker's file", TOLD, "prometheus", "PrometheusFiles", _files_of_workers, is_locked=True),
    Part("a record processor", TOLD, None, "OpenTelemetryLogs", _record_processor),
    Part(
        "a gauge callback",
        TOLD,
        "otel metrics",
        "Reads",
        _gauge_callback,
        library_catches=Exception,
        is_locked=True,
    ),
    Part("the clock", TASKS, None, None, _clock("time"), nonsense=0.0, may_raise=False),
    Part("the stopwatch", TASKS[:5], None, None, _clock("perf_counter"), nonsense=0.0, may_raise=False),
    Part("the journal's file", TASKS, None, "Journal", _journal_file, is_off_at_once=True),
    Part("the journal's disk", ("scheduled",), None, "Journal", _disk, is_locked=True, is_off_at_once=True),
)
