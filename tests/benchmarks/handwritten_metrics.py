"""The metrics of background tasks by hand: with ``prometheus_client``, and with OpenTelemetry instruments."""

from typing import Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import INVALID_SPAN, set_span_in_context
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0),
    *(64.0, 128.0, 320.0, 640.0, 1920.0, 3840.0),
)
OUTCOMES = ("succeeded", "failed", "cancelled", "skipped", "dropped", "abandoned")
NAME, OUTCOME = "background_task_name", "background_task_outcome"

NO_SPAN = set_span_in_context(INVALID_SPAN)
"""Counters are to carry no exemplars, as in Prometheus; and are cheaper so."""

Exemplar = dict[str, str] | None


class PrometheusMetrics:
    """The series of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()

        def counter(name: str, *labels: str) -> Counter:
            return Counter(f"background_task_{name}", name, labels, registry=registry)

        def histogram(name: str, *labels: str) -> Histogram:
            return Histogram(f"background_task_{name}_seconds", name, labels, registry=registry, buckets=BUCKETS)

        def gauge(name: str) -> Gauge:
            return Gauge(f"background_task_{name}", name, [NAME], registry=registry)

        self._scheduled = counter("scheduled", NAME)
        self._started = counter("started", NAME)
        self._ended = counter("ended", NAME, OUTCOME)
        self._failures = counter("failures", NAME, "error_type")
        self._duration = histogram("duration", NAME, OUTCOME)
        self._wait = histogram("wait", NAME)
        self._thread_wait = histogram("thread_wait", NAME)
        self._pending = gauge("pending")
        self._running = gauge("running")
        self._known: set[str] = set()

    def scheduled(self, name: str) -> None:
        """Count a task in; all its outcomes start at 0, so that ``rate()`` sees the first failure."""
        if name not in self._known:
            self._known.add(name)
            for outcome in OUTCOMES:
                self._ended.labels(name, outcome)
            self._started.labels(name)
            self._running.labels(name)
            self._wait.labels(name)
        self._scheduled.labels(name).inc()
        self._pending.labels(name).inc()

    def started(self, name: str, wait: float, exemplar: Exemplar) -> None:
        """Move a task from pending to running."""
        self._started.labels(name).inc()
        self._pending.labels(name).dec()
        self._running.labels(name).inc()
        self._wait.labels(name).observe(wait, exemplar)

    def ended(
        self,
        name: str,
        outcome: str,
        duration: float,
        thread_wait: float | None,
        error_type: str | None,
        exemplar: Exemplar,
    ) -> None:
        """Count an outcome."""
        self._running.labels(name).dec()
        self._ended.labels(name, outcome).inc()
        self._duration.labels(name, outcome).observe(duration, exemplar)
        if thread_wait is not None:
            self._thread_wait.labels(name).observe(thread_wait, exemplar)
        if outcome == "failed":
            self._failures.labels(name, error_type).inc()


class OpenTelemetryMetrics:
    """The same with OpenTelemetry; exemplars come from the span that is current."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(__name__)

        def histogram(name: str) -> Any:
            return meter.create_histogram(
                f"background_task.{name}", "s", explicit_bucket_boundaries_advisory=BUCKETS
            )

        self._scheduled = meter.create_counter("background_task.scheduled", "{task}")
        self._started = meter.create_counter("background_task.started", "{task}")
        self._ended = meter.create_counter("background_task.ended", "{task}")
        self._failures = meter.create_counter("background_task.failures", "{failure}")
        self._pending = meter.create_up_down_counter("background_task.pending", "{task}")
        self._running = meter.create_up_down_counter("background_task.running", "{task}")
        self._duration = histogram("duration")
        self._wait = histogram("wait")
        self._thread_wait = histogram("thread_wait")
        self._known: set[str] = set()

    def scheduled(self, name: str) -> None:
        """Count a task in."""
        attributes = {"background_task.name": name}
        if name not in self._known:
            self._known.add(name)
            for outcome in OUTCOMES:
                self._ended.add(0, attributes | {"background_task.outcome": outcome}, NO_SPAN)
            self._started.add(0, attributes, NO_SPAN)
            self._running.add(0, attributes, NO_SPAN)
        self._scheduled.add(1, attributes, NO_SPAN)
        self._pending.add(1, attributes, NO_SPAN)

    def started(self, name: str, wait: float, _: Exemplar) -> None:
        """Move a task from pending to running."""
        attributes = {"background_task.name": name}
        self._started.add(1, attributes, NO_SPAN)
        self._pending.add(-1, attributes, NO_SPAN)
        self._running.add(1, attributes, NO_SPAN)
        self._wait.record(wait, attributes)

    def ended(
        self,
        name: str,
        outcome: str,
        duration: float,
        thread_wait: float | None,
        error_type: str | None,
        _: Exemplar,
    ) -> None:
        """Count an outcome."""
        attributes = {"background_task.name": name}
        with_outcome = {"background_task.name": name, "background_task.outcome": outcome}
        self._running.add(-1, attributes, NO_SPAN)
        self._ended.add(1, with_outcome, NO_SPAN)
        self._duration.record(duration, with_outcome)
        if thread_wait is not None:
            self._thread_wait.record(thread_wait, attributes)
        if outcome == "failed":
            self._failures.add(1, attributes | {"error.type": error_type or ""}, NO_SPAN)
