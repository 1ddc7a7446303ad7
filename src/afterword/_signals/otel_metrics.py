"""OpenTelemetry metrics: the same numbers under the same names, on the user's meter provider.

Counters and gauges are observable instruments that read our tallies on collection, because an instrument's ``add``
costs more than all the rest. Histograms are recorded as values occur.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import context as otel
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from .._common import __version__, forks, semconv
from .._common.cardinality import ERROR_TYPES, ROUTES, admit_status
from .._common.context import context_of
from .._common.model import RequestInfo, TaskObserver, TaskRun, full_name
from .aggregation import Tallies, Tally
from .missing_sdk import METER_STAND_IN
from .oldest_runs import OldestRuns
from .worker_threads import note_limiter, worker_threads

_Read = Callable[[Tally], Iterable[tuple[float, dict[str, str]]]]
_ASK_SECONDS = 1.0


class OtelMetrics(TaskObserver):
    """Records every transition for OpenTelemetry instruments."""

    def __init__(self, meter_provider: MeterProvider) -> None:
        meter = meter_provider.get_meter(semconv.SCOPE, __version__)
        self._tallies = Tallies(timed=False)
        self._oldest = OldestRuns()
        self._proxy = type(meter_provider).__name__ == METER_STAND_IN
        self._asked = 0.0

        def counter(metric: semconv.Metric) -> Any:
            return meter.create_counter(metric.name, metric.unit, metric.help)

        def histogram(metric: semconv.Metric) -> Any:
            return meter.create_histogram(
                metric.name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=semconv.BUCKETS
            )

        def observe(create: Callable[..., Any], metric: semconv.Metric, read: _Read) -> None:
            create(metric.name, [self._callback(read)], metric.unit, metric.help)

        observe(meter.create_observable_counter, semconv.SCHEDULED, lambda t: [(t.scheduled, {})])
        observe(meter.create_observable_counter, semconv.STARTED, lambda t: [(t.started, {})])
        observe(
            meter.create_observable_counter,
            semconv.ENDED,
            lambda t: [(count, {semconv.TASK_OUTCOME: outcome}) for outcome, count in t.ended.items()],
        )
        observe(
            meter.create_observable_counter,
            semconv.FAILURES,
            lambda t: [(count, {semconv.ERROR_TYPE: kind}) for kind, count in t.failures.items()],
        )
        observe(meter.create_observable_up_down_counter, semconv.PENDING, lambda t: [(t.pending, {})])
        observe(meter.create_observable_up_down_counter, semconv.RUNNING, lambda t: [(t.running, {})])
        _observe_process(meter, self._oldest)
        self._duration = histogram(semconv.DURATION)
        self._wait = histogram(semconv.WAIT)
        self._thread_wait = histogram(semconv.THREAD_WAIT)
        self._request_errors = counter(semconv.REQUEST_ERRORS)
        self._observer_errors = counter(semconv.OBSERVER_ERRORS)

    def _callback(self, read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, {semconv.TASK_NAME: tally.name, **attributes})
                for tally in self._tallies.copies()
                for value, attributes in read(tally)
            ]

        return callback

    def forget(self) -> None:
        """In a forked child, leave the parent's runs to the parent."""
        self._tallies.forget()
        self._oldest.forget()

    def prepare(self, name: str) -> None:
        """Start all outcomes of a task at 0, so that a rate sees its first failure."""
        self._tallies[name]  # created on access

    def scheduled(self, run: TaskRun) -> None:
        """Count a new run, if metrics are collected. A run that was not counted here is ignored later."""
        if self._proxy and not self._has_listener(run.scheduled_at):
            return
        self._oldest.scheduled(run)
        self._tallies[run.name].count_scheduled()

    def started(self, run: TaskRun) -> None:
        """Move a run from pending to running."""
        if self._proxy or not self._oldest.started(run):
            return
        if not run.is_async:
            note_limiter()
        self._tallies[run.name].count_started(run)
        self._wait.record(run.wait or 0.0, {semconv.TASK_NAME: run.name}, _exemplar_context(run))

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        if self._proxy or not self._oldest.ended(run):
            return
        self._tallies[run.name].count_ended(run)
        if run.started_at is None:
            return
        context = _exemplar_context(run)
        attributes = {semconv.TASK_NAME: run.name}
        if run.thread_wait is not None:
            self._thread_wait.record(run.thread_wait, attributes, context)
        self._duration.record(run.duration or 0.0, {**attributes, semconv.TASK_OUTCOME: str(run.outcome)}, context)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Count a failed request."""
        attributes: dict[str, str | int] = {semconv.ERROR_TYPE: ERROR_TYPES.admit(full_name(exc))}
        if info.method is not None:
            attributes[semconv.HTTP_METHOD] = info.method
        if info.route is not None:
            attributes[semconv.HTTP_ROUTE] = ROUTES.admit(info.route)
        if info.status is not None:
            attributes[semconv.HTTP_STATUS] = admit_status(info.status)
        self._request_errors.add(1, attributes)

    def observer_failed(self, observer: str) -> None:
        """Count an error of an observer."""
        self._observer_errors.add(1, {semconv.OBSERVER: observer})

    def _has_listener(self, now: float) -> bool:
        """Return whether the global provider has an SDK by now; checked rarely, since the check is not free."""
        if now - self._asked >= _ASK_SECONDS:
            self._asked = now
            self._proxy = type(get_meter_provider()).__name__ == METER_STAND_IN
        return not self._proxy


def _observe_process(meter: Any, oldest: OldestRuns) -> None:
    """Create the gauges of the process: the oldest runs, the worker threads, the version."""

    def gauge(metric: semconv.Metric, read: Callable[[], list[Observation]]) -> None:
        meter.create_observable_gauge(metric.name, [lambda _: read()], metric.unit, metric.help)

    states = (semconv.STATE_PENDING, semconv.STATE_RUNNING)
    gauge(semconv.OLDEST_AGE, lambda: [Observation(oldest.age(s), {semconv.TASK_STATE: s}) for s in states])
    gauge(semconv.THREADS_BUSY, lambda: [Observation(worker_threads().busy)])
    gauge(semconv.THREADS_LIMIT, lambda: [Observation(worker_threads().limit)])
    gauge(semconv.THREADS_WAITING, lambda: [Observation(worker_threads().waiting)])
    gauge(semconv.INFO, lambda: [Observation(1, {semconv.VERSION: __version__})])


def _exemplar_context(run: TaskRun) -> otel.Context | None:
    """Return a context with the run's span, which has ended or is not current when the value is recorded."""
    return context_of(run.trace_id, run.span_id, sampled=True) if run.sampled else None


_of_provider: weakref.WeakKeyDictionary[MeterProvider, OtelMetrics] = weakref.WeakKeyDictionary()


def _forget() -> None:
    for observer in list(_of_provider.values()):
        observer.forget()


forks.in_child(_forget)


def otel_metrics(meter_provider: MeterProvider | None) -> OtelMetrics:
    """Return the observer of a meter provider (the global one by default), shared by its applications."""
    provider = meter_provider if meter_provider is not None else get_meter_provider()
    observer = _of_provider.get(provider)
    if observer is None:
        observer = _of_provider[provider] = OtelMetrics(provider)
    return observer
