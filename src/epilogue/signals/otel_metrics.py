"""OpenTelemetry metrics: the same account under the same names, on the user's meter provider."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from opentelemetry import context as otel
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from .. import names
from .._version import __version__
from ..model import Outcome, RequestInfo, TaskObserver, TaskRun, full_name
from .oldest import OldestRuns
from .threads import note_limiter, worker_threads


class OtelMetrics(TaskObserver):
    """Records every transition on OpenTelemetry instruments."""

    def __init__(self, meter_provider: MeterProvider) -> None:
        meter = meter_provider.get_meter(names.SCOPE, __version__)

        def counter(metric: names.Metric) -> Any:
            return meter.create_counter(metric.name, metric.unit, metric.help)

        def up_down(metric: names.Metric) -> Any:
            return meter.create_up_down_counter(metric.name, metric.unit, metric.help)

        def histogram(metric: names.Metric) -> Any:
            return meter.create_histogram(
                metric.name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=names.BUCKETS
            )

        def gauge(metric: names.Metric, callback: Any) -> None:
            meter.create_observable_gauge(metric.name, [callback], metric.unit, metric.help)

        self._scheduled = counter(names.SCHEDULED)
        self._started = counter(names.STARTED)
        self._ended = counter(names.ENDED)
        self._failures = counter(names.FAILURES)
        self._lost = counter(names.LOST)
        self._request_errors = counter(names.REQUEST_ERRORS)
        self._observer_errors = counter(names.OBSERVER_ERRORS)
        self._pending = up_down(names.PENDING)
        self._running = up_down(names.RUNNING)
        self._duration = histogram(names.DURATION)
        self._wait = histogram(names.WAIT)
        self._thread_wait = histogram(names.THREAD_WAIT)
        self._oldest = OldestRuns()
        gauge(names.OLDEST_AGE, self._ages)
        gauge(names.THREADS_BUSY, lambda _: [Observation(worker_threads().busy)])
        gauge(names.THREADS_LIMIT, lambda _: [Observation(worker_threads().limit)])
        gauge(names.THREADS_WAITING, lambda _: [Observation(worker_threads().waiting)])
        gauge(names.INFO, lambda _: [Observation(1, {"version": __version__})])
        self._known: set[str] = set()

    def _ages(self, _: CallbackOptions) -> Iterable[Observation]:
        states = (names.STATE_PENDING, names.STATE_RUNNING)
        return [Observation(self._oldest.age(state), {names.TASK_STATE: state}) for state in states]

    def prepare(self, name: str) -> None:
        """Start all outcomes of a task at 0, so that a rate sees the first failure."""
        if name not in self._known:
            self._known.add(name)
            for outcome in Outcome:
                self._ended.add(0, {names.TASK_NAME: name, names.TASK_OUTCOME: str(outcome)})

    def scheduled(self, run: TaskRun) -> None:
        """Count it in."""
        self.prepare(run.name)
        self._oldest.scheduled(run)
        attributes = {names.TASK_NAME: run.name}
        self._scheduled.add(1, attributes)
        self._pending.add(1, attributes)

    def started(self, run: TaskRun) -> None:
        """Move it from pending to running."""
        self._oldest.started(run)
        if not run.is_async:
            note_limiter()
        attributes = {names.TASK_NAME: run.name}
        self._started.add(1, attributes)
        self._pending.add(-1, attributes)
        self._running.add(1, attributes)
        self._wait.record(run.wait or 0.0, attributes, _exemplar_context(run))

    def ended(self, run: TaskRun) -> None:
        """Count its outcome."""
        self._oldest.ended(run)
        attributes = {names.TASK_NAME: run.name}
        with_outcome = attributes | {names.TASK_OUTCOME: str(run.outcome)}
        if run.started:
            context = _exemplar_context(run)
            self._running.add(-1, attributes)
            self._duration.record(run.duration or 0.0, with_outcome, context)
            if run.thread_wait is not None:
                self._thread_wait.record(run.thread_wait, attributes, context)
        else:
            self._pending.add(-1, attributes)
        self._ended.add(1, with_outcome)
        if run.outcome is Outcome.FAILED:
            error_type = names.ERROR_TYPES.admit(str(run.error_type or run.reason))
            self._failures.add(1, attributes | {names.ERROR_TYPE: error_type})

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Count a failed request."""
        attributes: dict[str, str | int] = {names.ERROR_TYPE: names.ERROR_TYPES.admit(full_name(exc))}
        if info.method is not None:
            attributes[names.HTTP_METHOD] = info.method
        if info.route is not None:
            attributes[names.HTTP_ROUTE] = names.ROUTES.admit(info.route)
        if info.status is not None:
            attributes[names.HTTP_STATUS] = info.status
        self._request_errors.add(1, attributes)

    def observer_failed(self, observer: str) -> None:
        """Count a fault of an observer."""
        self._observer_errors.add(1, {names.OBSERVER: observer})


def _exemplar_context(run: TaskRun) -> otel.Context | None:
    """Return a context with the run's span: its own is over, or not current, where the number is recorded."""
    if not run.sampled or run.trace_id is None or run.span_id is None:
        return None
    span = SpanContext(int(run.trace_id, 16), int(run.span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(span), otel.Context())


_of_provider: weakref.WeakKeyDictionary[MeterProvider, OtelMetrics] = weakref.WeakKeyDictionary()


def otel_metrics(meter_provider: MeterProvider | None) -> OtelMetrics:
    """Return the observer of a meter provider (the global one by default); all its applications share it."""
    provider = meter_provider if meter_provider is not None else get_meter_provider()
    observer = _of_provider.get(provider)
    if observer is None:
        observer = _of_provider[provider] = OtelMetrics(provider)
    return observer
