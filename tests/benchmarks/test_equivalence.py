"""The hand-written wrapper that the benchmarks compare with says the same as Afterword, field by field."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import afterword
from tests.benchmarks import handwritten
from tests.benchmarks.driving import http_scope, receive, send
from tests.benchmarks.handwritten_metrics import OpenTelemetryMetrics, PrometheusMetrics
from tests.benchmarks.ours import furnish_by_hand
from tests.benchmarks.shop import furnish, quiet_app
from tests.support.accounts import restored_structlog
from tests.support.numbers import MeterAccount
from tests.support.versions import NATIVE_TELEMETRY

PATHS = ("/async/2", "/sync/2", "/fail/async/1", "/fail/sync/1", "/names/2/3", "/direct-async/1")
IDS = ("task_run", "trace_id", "span_id", "background_task.run.id")
SECONDS = ("wait_s", "thread_wait_s", "duration_s", "background_task.wait", "background_task.thread_wait")
ENGINES = ("background_task_engine", "background_task.engine")
"""Who writes by hand has one engine, and no label for it."""
FAMILIES = [
    f"background_task_{name}"
    for name in (
        "scheduled",
        "started",
        "ended",
        "failures",
        "pending",
        "running",
        "wait_seconds",
        "thread_wait_seconds",
        "duration_seconds",
    )
]


class Output:
    """Everything that one of the two says about the same requests."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter = MeterAccount()
        self.registry = CollectorRegistry()
        self.lines: list[Any] = []

    def visit(self, app: Any) -> None:
        """Send the requests; a failing task's error leaves the application, as it does bare."""
        for path in PATHS:
            try:
                asyncio.run(_one(app, path))
            except ValueError:
                assert "fail" in path

    def __call__(self, _: Any, level: str, entry: Any) -> Any:
        """Keep a line, as a processor of structlog's."""
        entry["level"] = level
        self.lines.append(entry)
        raise structlog.DropEvent


async def _one(app: Any, path: str) -> None:
    around = trace.SpanContext(7, 9, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with trace.use_span(trace.NonRecordingSpan(around)):
        await app(http_scope(path) | {"headers": [(b"x-request-id", b"r1")]}, receive, send)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Output, Output]]:
    """Return what the hand-written wrapper says, with either kind of metrics, and what Afterword says."""
    from prometheus_client import metrics

    monkeypatch.setattr(metrics, "_use_created", getattr(metrics, "_use_created", True), raising=False)
    by_hand, ours = Output(), Output()
    with restored_structlog():
        monkeypatch.setattr(handwritten, "tracer", by_hand.provider.get_tracer("hand"))
        for kind in (PrometheusMetrics(by_hand.registry), OpenTelemetryMetrics(by_hand.meter.provider)):
            by_hand.lines.clear()
            by_hand.exporter.clear()
            structlog.configure(processors=[by_hand], cache_logger_on_first_use=False)
            by_hand.visit(furnish_by_hand(quiet_app(), kind))
        structlog.configure(processors=[ours], cache_logger_on_first_use=False)
        app = furnish(quiet_app())
        afterword.instrument(
            app,
            tracer_provider=ours.provider,
            meter_provider=ours.meter.provider,
            registry=ours.registry,
            metrics_path=None,
        )
        try:
            ours.visit(app)
            yield by_hand, ours
        finally:
            afterword.uninstrument(app)
            for output in (by_hand, ours):
                output.meter.provider.shutdown()
                output.provider.shutdown()


def _plain(key: str, value: Any) -> Any:
    """Return a field as it can be compared: an id by its length, a time by its plausibility."""
    if key in IDS:
        assert int(value, 16) >= 0
        return f"{len(value)} hexadecimal digits"
    if key in SECONDS:
        assert isinstance(value, float)
        assert 0 <= value < 5
        return "seconds"
    if key == "exc_info":
        return repr(value[1] if isinstance(value, tuple) else value)
    return value


def _fields(fields: Any) -> dict[str, Any]:
    return {key: _plain(key, value) for key, value in fields.items()}


def _span(span: ReadableSpan) -> dict[str, Any]:
    return {
        "name": span.name,
        "kind": span.kind,
        "attributes": _fields(span.attributes or {}),
        "status": (span.status.status_code, span.status.description),
        # on a FastAPI without telemetry, Afterword has the request traced as well
        "parent": NATIVE_TELEMETRY and span.parent and (span.parent.trace_id, span.parent.span_id),
        "events": [
            (event.name, {key: value for key, value in (event.attributes or {}).items() if "stack" not in key})
            for event in span.events
        ],
        "ended": (span.end_time or 0) >= (span.start_time or 0) > 0,
    }


def _spans(output: Output) -> list[dict[str, Any]]:
    spans = output.exporter.get_finished_spans()
    return [_span(span) for span in spans if span.name.startswith("background_task ")]


def test_spans(outputs: tuple[Output, Output]):
    """The spans are the same: names, attributes, status, parents, exception events."""
    by_hand, ours = (_spans(output) for output in outputs)
    assert ours == by_hand
    assert len(ours) == 10


def test_lines(outputs: tuple[Output, Output]):
    """The log lines are the same: events, levels, keys, also at level debug."""
    by_hand, ours = ([_fields(line) for line in output.lines] for output in outputs)
    assert ours == by_hand
    assert len(ours) == 30


def _series(output: Output) -> dict[Any, Any]:
    """Return the series of tasks: counts by value, times by plausibility, exemplars by labels."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(output.registry).decode()):
        for sample in family.samples:
            if family.name in FAMILIES:
                value: Any = sample.value
                if sample.name.endswith("_sum"):
                    assert 0 <= value < 60
                    value = "seconds"
                exemplar = sample.exemplar and sorted(sample.exemplar.labels)
                if sample.name.endswith("_bucket") and sample.labels["le"] != "+Inf":
                    value, exemplar = "some", None  # a task took its time
                labels = {key: text for key, text in sample.labels.items() if key not in ENGINES}
                found[sample.name, tuple(sorted(labels.items()))] = value, exemplar
    return found


def _exemplars(output: Output) -> set[Any]:
    families = text_string_to_metric_families(generate_latest(output.registry).decode())
    samples = [s for family in families if family.name in FAMILIES for s in family.samples if s.exemplar]
    return {(s.name, s.labels["background_task_name"], *sorted(s.exemplar.labels)) for s in samples if s.exemplar}


def test_prometheus(outputs: tuple[Output, Output]):
    """The series of tasks are the same, also those at 0, with exemplars on the same histograms."""
    by_hand, ours = map(_series, outputs)
    assert ours == by_hand
    assert len(ours) > 100
    assert _exemplars(outputs[0]) == _exemplars(outputs[1]) != set()


def _points(output: Output) -> dict[Any, Any]:
    """Return the OpenTelemetry metrics of tasks."""
    found = {}
    data = json.loads(output.meter.reader.get_metrics_data().to_json())
    for scope in data["resource_metrics"][0]["scope_metrics"]:
        for metric in scope["metrics"]:
            if metric["name"].replace(".", "_").removesuffix("_seconds") in {
                family.removesuffix("_seconds") for family in FAMILIES
            }:
                for point in metric["data"]["data_points"]:
                    attributes = {name: text for name, text in point["attributes"].items() if name not in ENGINES}
                    key = metric["name"], metric["unit"], tuple(sorted(attributes.items()))
                    value = point.get("value", point.get("count"))
                    found[key] = value, point.get("explicit_bounds"), bool(point.get("exemplars"))
    return found


def test_opentelemetry_metrics(outputs: tuple[Output, Output]):
    """The OpenTelemetry metrics are the same: names, units, attributes, counts, bounds, exemplars."""
    by_hand, ours = map(_points, outputs)
    assert ours == by_hand
    assert len(ours) > 30
