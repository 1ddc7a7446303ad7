"""OpenTelemetry metrics: the same account under the same names, on the user's meter provider.

Counters and gauges are observable instruments that read our own tallies when somebody collects: an instrument's
``add`` costs more than all the rest. Histograms are recorded as they happen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import context as otel
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from .._common import forks
from .._common import semconv as names
from .._common.cardinality import ERROR_TYPES, ROUTES
from .._common.ids import context_of
from .._common.model import RequestInfo, TaskObserver, TaskRun, full_name
from .._common.version import __version__
from .aggregation import Tallies, Tally
from .oldest import OldestRuns
from .worker_threads import note_limiter, worker_threads

_Read = Callable[[Tally], Iterable[tuple[float, dict[str, str]]]]
_PROXY = "_ProxyMeterProvider"
_ASK_SECONDS = 1.0


class OtelMetrics(TaskObserver):
    """Records every transition for OpenTelemetry instruments."""

    def __init__(self, meter_provider: MeterProvider) -> None:
        meter = meter_provider.get_meter(names.SCOPE, __version__)
        self._tallies = Tallies(timed=False)
        self._oldest = OldestRuns()
        self._proxy = type(meter_provider).__name__ == _PROXY
        self._asked = 0.0

        def counter(metric: names.Metric) -> Any:
            return meter.create_counter(metric.name, metric.unit, metric.help)

        def histogram(metric: names.Metric) -> Any:
            return meter.create_histogram(
                metric.name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=names.BUCKETS
            )

        def observe(create: Callable[..., Any], metric: names.Metric, read: _Read) -> None:
            create(metric.name, [self._callback(read)], metric.unit, metric.help)

        observe(meter.create_observable_counter, names.SCHEDULED, lambda t: [(t.scheduled, {})])
        observe(meter.create_observable_counter, names.STARTED, lambda t: [(t.started, {})])
        observe(
            meter.create_observable_counter,
            names.ENDED,
            lambda t: [(count, {names.TASK_OUTCOME: outcome}) for outcome, count in t.ended.items()],
        )
        observe(
            meter.create_observable_counter,
            names.FAILURES,
            lambda t: [(count, {names.ERROR_TYPE: kind}) for kind, count in t.failures.items()],
        )
        observe(meter.create_observable_up_down_counter, names.PENDING, lambda t: [(t.pending, {})])
        observe(meter.create_observable_up_down_counter, names.RUNNING, lambda t: [(t.running, {})])
        _observe_process(meter, self._oldest)
        self._duration = histogram(names.DURATION)
        self._wait = histogram(names.WAIT)
        self._thread_wait = histogram(names.THREAD_WAIT)
        self._request_errors = counter(names.REQUEST_ERRORS)
        self._observer_errors = counter(names.OBSERVER_ERRORS)

    def _callback(self, read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, {names.TASK_NAME: tally.name, **attributes})
                for tally in self._tallies.copies()
                for value, attributes in read(tally)
            ]

        return callback

    def forget(self) -> None:
        """Leave the parent's runs to it, in a forked child."""
        self._tallies.forget()
        self._oldest.forget()

    def prepare(self, name: str) -> None:
        """Start all outcomes of a task at 0, so that a rate sees the first failure."""
        self._tallies[name]  # made when it is asked for

    def scheduled(self, run: TaskRun) -> None:
        """Count it in, if anybody listens: a run that was not counted in is not counted on."""
        if self._proxy and not self._has_listener(run.scheduled_at):
            return
        self._oldest.scheduled(run)
        self._tallies[run.name].count_scheduled()

    def started(self, run: TaskRun) -> None:
        """Move it from pending to running."""
        if self._proxy or not self._oldest.started(run):
            return
        if not run.is_async:
            note_limiter()
        self._tallies[run.name].count_started(run)
        self._wait.record(run.wait or 0.0, {names.TASK_NAME: run.name}, _exemplar_context(run))

    def ended(self, run: TaskRun) -> None:
        """Count its outcome."""
        if self._proxy or not self._oldest.ended(run):
            return
        self._tallies[run.name].count_ended(run)
        if run.started_at is None:
            return
        context = _exemplar_context(run)
        attributes = {names.TASK_NAME: run.name}
        if run.thread_wait is not None:
            self._thread_wait.record(run.thread_wait, attributes, context)
        self._duration.record(run.duration or 0.0, {**attributes, names.TASK_OUTCOME: str(run.outcome)}, context)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Count a failed request."""
        attributes: dict[str, str | int] = {names.ERROR_TYPE: ERROR_TYPES.admit(full_name(exc))}
        if info.method is not None:
            attributes[names.HTTP_METHOD] = info.method
        if info.route is not None:
            attributes[names.HTTP_ROUTE] = ROUTES.admit(info.route)
        if info.status is not None:
            attributes[names.HTTP_STATUS] = info.status
        self._request_errors.add(1, attributes)

    def observer_failed(self, observer: str) -> None:
        """Count a fault of an observer."""
        self._observer_errors.add(1, {names.OBSERVER: observer})

    def _has_listener(self, now: float) -> bool:
        """Return whether an SDK has come behind the global provider; it costs something to ask, so not often."""
        if now - self._asked >= _ASK_SECONDS:
            self._asked = now
            self._proxy = type(get_meter_provider()).__name__ == _PROXY
        return not self._proxy


def _observe_process(meter: Any, oldest: OldestRuns) -> None:
    """Make the gauges of the process: the oldest runs, the worker threads, ourselves."""

    def gauge(metric: names.Metric, read: Callable[[], list[Observation]]) -> None:
        meter.create_observable_gauge(metric.name, [lambda _: read()], metric.unit, metric.help)

    states = (names.STATE_PENDING, names.STATE_RUNNING)
    gauge(names.OLDEST_AGE, lambda: [Observation(oldest.age(s), {names.TASK_STATE: s}) for s in states])
    gauge(names.THREADS_BUSY, lambda: [Observation(worker_threads().busy)])
    gauge(names.THREADS_LIMIT, lambda: [Observation(worker_threads().limit)])
    gauge(names.THREADS_WAITING, lambda: [Observation(worker_threads().waiting)])
    gauge(names.INFO, lambda: [Observation(1, {"version": __version__})])


def _exemplar_context(run: TaskRun) -> otel.Context | None:
    """Return a context with the run's span: its own is over, or not current, where the number is recorded."""
    return context_of(run.trace_id, run.span_id, sampled=True) if run.sampled else None


_of_provider: weakref.WeakKeyDictionary[MeterProvider, OtelMetrics] = weakref.WeakKeyDictionary()


def _forget() -> None:
    for observer in list(_of_provider.values()):
        observer.forget()


forks.in_child(_forget)


def otel_metrics(meter_provider: MeterProvider | None) -> OtelMetrics:
    """Return the observer of a meter provider (the global one by default); all its applications share it."""
    provider = meter_provider if meter_provider is not None else get_meter_provider()
    observer = _of_provider.get(provider)
    if observer is None:
        observer = _of_provider[provider] = OtelMetrics(provider)
    return observer
