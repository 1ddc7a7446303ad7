"""The numbers of an account: what a scrape says, and what the OpenTelemetry metrics pipeline says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from tests.support.story import OUTCOMES, Story, short

Samples = Iterator[tuple[str, dict[str, str], float]]


class Numbers:
    """Counters and gauges by name, from Prometheus or from OpenTelemetry; label names are Prometheus's."""

    def samples(self) -> Samples:
        raise NotImplementedError

    def _all(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        grouped: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, labels, value in self.samples():
            grouped.setdefault(name, []).append((labels, value))
        return grouped

    def story(self) -> Story:
        numbers = self._all()

        def count(metric: str, *labels: str) -> Counter[Any]:
            counts: Counter[Any] = Counter()
            for attributes, value in numbers.get(metric, ()):
                values = [attributes.get(label, "") for label in labels]
                if labels[0] == "background_task_name":
                    values[0] = short(values[0])
                counts[values[0] if len(values) == 1 else tuple(values)] += int(value)
            return counts

        return Story(
            scheduled=count("background_task_scheduled_total", "background_task_name"),
            started=count("background_task_started_total", "background_task_name"),
            ended=count("background_task_ended_total", "background_task_name", "background_task_outcome"),
            reasons=None,
            error_types=None,
            failures=count("background_task_failures_total", "background_task_name", "error_type"),
            errors=count(
                "afterword_request_errors_total",
                "http_request_method",
                "http_route",
                "http_response_status_code",
                "error_type",
            ),
        )

    def assert_law(self, *, settled: bool = True) -> None:
        """State the law per task name: scheduled = pending + running + the six outcomes."""
        numbers = self._all()

        def of(metric: str, name: str) -> list[float]:
            return [v for labels, v in numbers.get(metric, ()) if labels.get("background_task_name") == name]

        for labels, scheduled in numbers.get("background_task_scheduled_total", ()):
            name = labels["background_task_name"]
            pending, running = of("background_task_pending", name), of("background_task_running", name)
            ended = of("background_task_ended_total", name)
            assert len(ended) == len(OUTCOMES), f"{name}: not every outcome has a series"
            assert scheduled == sum(pending) + sum(running) + sum(ended), f"the law is broken for {name}"
            assert not settled or not any(pending + running), f"{name}: {pending} pending, {running} running"


class PrometheusAccount(Numbers):
    """What a scrape says."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def samples(self) -> Samples:
        for family in self.registry.collect():
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value


def recorded(reader: InMemoryMetricReader) -> Iterator[Any]:
    """Yield the metrics that a reader collects now."""
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics


class MeterAccount(Numbers):
    """What the OpenTelemetry metrics pipeline says."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider(metric_readers=[self.reader], shutdown_on_exit=False)

    def samples(self) -> Samples:
        for metric in recorded(self.reader):
            for point in metric.data.data_points:
                if hasattr(point, "value"):
                    labels = {k.replace(".", "_"): str(v) for k, v in (point.attributes or {}).items()}
                    yield self._prometheus_name(metric), labels, point.value

    def points(self, name: str) -> list[Any]:
        """Return the data points of one metric, by its OpenTelemetry name."""
        return [
            point for metric in recorded(self.reader) if metric.name == name for point in metric.data.data_points
        ]

    @staticmethod
    def _prometheus_name(metric: Any) -> str:
        suffix = "_seconds" if metric.unit == "s" else ""
        total = "_total" if getattr(metric.data, "is_monotonic", False) else ""
        return metric.name.replace(".", "_") + suffix + total
