"""What an OTLP receiver got, as a test wants to ask for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

OUTCOME = "background_task.outcome"
NAME = "background_task.name"
RUN_ID = "background_task.run.id"


def value_of(value: Any) -> Any:
    """Return a protobuf ``AnyValue`` as the Python value it stands for."""
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind is not None else None


def attributes_of(holder: Any) -> dict[str, Any]:
    """Return protobuf attributes as a dictionary."""
    return {pair.key: value_of(pair.value) for pair in holder}


class Span(NamedTuple):
    """One span."""

    name: str
    scope: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    raw: Any


class Record(NamedTuple):
    """One log record."""

    event: str
    scope: str
    severity: int
    severity_text: str
    body: Any
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    raw: Any


class Exemplar(NamedTuple):
    """One exemplar."""

    value: float
    trace_id: str
    span_id: str


class Received:
    """Collects export requests of all signals; several threads may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Any] = []

    def take(self, request: Any) -> None:
        """Keep an export request."""
        with self._lock:
            self._requests.append(request)

    def _of(self, field: str) -> list[Any]:
        with self._lock:
            return [part for request in self._requests for part in getattr(request, field, ())]

    def spans(self) -> list[Span]:
        """Return all spans."""
        return [
            Span(
                span.name,
                scope.scope.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                attributes_of(span.attributes),
                attributes_of(part.resource.attributes),
                span,
            )
            for part in self._of("resource_spans")
            for scope in part.scope_spans
            for span in scope.spans
        ]

    def runs(self) -> list[Span]:
        """Return the spans of runs."""
        return [span for span in self.spans() if RUN_ID in span.attributes]

    def outcomes(self) -> list[tuple[str, str]]:
        """Return the last part of the name, and the outcome, of every run, sorted."""
        return sorted((s.attributes[NAME].rpartition(".")[2], s.attributes[OUTCOME]) for s in self.runs())

    def records(self) -> list[Record]:
        """Return all log records."""
        return [
            Record(
                record.event_name,
                scope.scope.name,
                record.severity_number,
                record.severity_text,
                value_of(record.body),
                record.trace_id.hex(),
                record.span_id.hex(),
                attributes_of(record.attributes),
                attributes_of(part.resource.attributes),
                record,
            )
            for part in self._of("resource_logs")
            for scope in part.scope_logs
            for record in scope.log_records
        ]

    def events(self) -> list[Record]:
        """Return our own log records."""
        return [record for record in self.records() if record.scope == "afterword"]

    def _metrics(self) -> Iterator[tuple[dict[str, Any], str, Any]]:
        for part in self._of("resource_metrics"):
            for scope in part.scope_metrics:
                for metric in scope.metrics:
                    yield attributes_of(part.resource.attributes), scope.scope.name, metric

    def metric_resources(self) -> list[dict[str, Any]]:
        """Return the resource of every export of our metrics."""
        return [resource for resource, scope, _ in self._metrics() if scope == "afterword"]

    def metric_names(self) -> set[str]:
        """Return the names of all our metrics."""
        return {metric.name for _, scope, metric in self._metrics() if scope == "afterword"}

    def last(self) -> dict[str, Any]:
        """Return the latest export of each of our metrics, by name."""
        return {metric.name: metric for _, scope, metric in self._metrics() if scope == "afterword"}

    def numbers(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return the latest values under Prometheus's names; of a histogram count, sum and buckets."""
        numbers: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}

        def put(name: str, attributes: dict[str, Any], value: float) -> None:
            labels = frozenset((key.replace(".", "_"), str(text)) for key, text in attributes.items())
            numbers[name, labels] = value

        for metric in self.last().values():
            kind = metric.WhichOneof("data")
            name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
            for point in getattr(metric, kind).data_points:
                attributes = attributes_of(point.attributes)
                if kind == "histogram":
                    put(f"{name}_count", attributes, point.count)
                    put(f"{name}_sum", attributes, point.sum)
                    so_far = 0
                    for bound, count in zip([*point.explicit_bounds, "+Inf"], point.bucket_counts, strict=True):
                        so_far += count
                        put(f"{name}_bucket", attributes | {"le": str(bound)}, so_far)
                elif kind in ("sum", "gauge"):
                    total = kind == "sum" and metric.sum.is_monotonic
                    put(name + ("_total" if total else ""), attributes, _number(point))
        return numbers

    def exemplars(self, name: str) -> list[Exemplar]:
        """Return the exemplars of a histogram, of all exports."""
        return [
            Exemplar(_number(exemplar), exemplar.trace_id.hex(), exemplar.span_id.hex())
            for _, scope, metric in self._metrics()
            if scope == "afterword" and metric.name == name
            for point in metric.histogram.data_points
            for exemplar in point.exemplars
        ]


def _number(point: Any) -> float:
    number: float = getattr(point, point.WhichOneof("value"))
    return number
