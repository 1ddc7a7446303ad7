"""OpenTelemetry metrics: the same numbers under the same names, on the user's meter provider.

Counters and gauges are observable instruments that read our tallies on collection, because an instrument's ``add``
costs more than all the rest. Histograms are recorded as values occur.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from opentelemetry import context as otel
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from .._common import __version__, forks, semconv
from .._common.cardinality import ERROR_TYPES, ROUTES, admit_status
from .._common.context import context_of
from .._common.faults import contained
from .._common.model import STARLETTE, RequestInfo, TaskRun, full_name
from .attributes import why_attributes
from .loop.lag import listeners
from .lost import DeadProcess
from .process_gauges import OldestAges
from .tallies import depths
from .tallies.queues import QueueTallies, count_dead
from .tallies.tasks import Tallies, TalliesOf, Tally, TallyingObserver
from .worker_threads import worker_threads

_Read = Callable[[Tally], Iterable[tuple[float, Mapping[str, str | int]]]]


class OtelMetrics(TallyingObserver):
    """Records every transition for OpenTelemetry instruments."""

    def __init__(self, meter_provider: MeterProvider, oldest_ages: OldestAges) -> None:
        meter = meter_provider.get_meter(semconv.SCOPE, __version__)
        tallies = Tallies(timed=False)
        super().__init__(tallies)
        self.queue_tallies = QueueTallies(timed=False)
        """What is counted of the tasks of queues, for the same instruments."""
        self._all: tuple[TalliesOf[Any], ...] = tallies, self.queue_tallies
        self._recorded: list[Any] = []
        """The instruments whose values the SDK keeps."""

        def recorded(create: Callable[..., Any], metric: semconv.Metric) -> Any:
            self._recorded.append(instrument := create(metric.name, metric.unit, metric.help))
            return instrument

        def histogram(metric: semconv.Metric) -> Any:
            bounds = metric.bounds[:-1]
            return recorded(partial(meter.create_histogram, explicit_bucket_boundaries_advisory=bounds), metric)

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
            semconv.NEVER_RAN,
            lambda t: [(count, why_attributes(why)) for why, count in t.never_ran.items()],
        )
        observe(
            meter.create_observable_counter,
            semconv.FAILURES,
            lambda t: [(count, {semconv.ERROR_TYPE: kind}) for kind, count in t.failures.items()],
        )
        observe(
            meter.create_observable_counter,
            semconv.RETURNED,
            lambda t: [(count, {semconv.TASK_REASON: reason}) for reason, count in t.returned.items()],
        )
        observe(meter.create_observable_counter, semconv.LOST, lambda t: [(t.lost, {})])
        observe(meter.create_observable_up_down_counter, semconv.PENDING, lambda t: [(t.pending, {})])
        observe(meter.create_observable_up_down_counter, semconv.RUNNING, lambda t: [(t.running, {})])
        self._start = time.time()
        _observe_process(meter, oldest_ages, lambda: self._start)
        self.duration = histogram(semconv.DURATION)
        self.wait = histogram(semconv.WAIT)
        self._thread_wait = histogram(semconv.THREAD_WAIT)
        self.held = histogram(semconv.HELD)
        self.publish_duration = histogram(semconv.PUBLISH_DURATION)
        self._loop_lag = histogram(semconv.LOOP_LAG)
        self._loop_blocked = recorded(meter.create_counter, semconv.LOOP_BLOCKED)
        listeners.add(self)
        self._response_duration = histogram(semconv.RESPONSE_DURATION)
        self.clock_skewed = recorded(meter.create_counter, semconv.CLOCK_SKEWED)
        self._request_errors = recorded(meter.create_counter, semconv.REQUEST_ERRORS)
        self._observer_errors = recorded(meter.create_counter, semconv.OBSERVER_ERRORS)

    def _callback(self, read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def callback(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(
                    value, {semconv.TASK_NAME: tally.name, semconv.TASK_ENGINE: tally.engine, **attributes}
                )
                for tallies in self._all
                for tally in tallies.copies()
                for value, attributes in read(tally)
            ]

        return callback

    def lagged(self, seconds: float) -> None:
        """Record how late an event loop of this process was."""
        self._loop_lag.record(seconds)

    def blocked(self, seconds: float, task: str | None) -> None:
        """Count how long an event loop was held up, by which task if one did."""
        self._loop_blocked.add(seconds, {} if task is None else {semconv.TASK_NAME: task})

    def count_dead(self, dead: DeadProcess) -> None:
        """Count what a dead process has lost."""
        count_dead(self._tallies, self.queue_tallies, dead)

    def forget(self) -> None:
        """In a forked child, leave the parent's runs to the parent."""
        self._start = time.time()
        for tallies in self._all:
            tallies.forget()
        for instrument in self._recorded:
            with contained():
                _forget_recorded(instrument)

    def scheduled(self, run: TaskRun) -> None:
        """Count a new run. A run that was scheduled before this observer joined is ignored later."""
        run._metered = True
        super().scheduled(run)

    def started(self, run: TaskRun) -> None:
        """Count that a run has started, and how long it waited."""
        if run._metered:
            super().started(run)
            attributes = {semconv.TASK_NAME: run.name, semconv.TASK_ENGINE: STARLETTE}
            self.wait.record(run.wait or 0.0, attributes, exemplar_context(run))

    def ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        if not run._metered:
            return
        super().ended(run)
        if run.started_at is None:
            return
        context = exemplar_context(run)
        attributes = {semconv.TASK_NAME: run.name, semconv.TASK_ENGINE: STARLETTE}
        if run.thread_wait is not None:
            self._thread_wait.record(run.thread_wait, attributes, context)
        self.duration.record(run.duration or 0.0, attributes | {semconv.TASK_OUTCOME: str(run.outcome)}, context)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Count a failed request."""
        error = ERROR_TYPES.admit(full_name(exc))
        self._request_errors.add(1, {semconv.ERROR_TYPE: error, **_of_request(info, info.status)})

    error_answered = request_failed

    def answered(self, info: RequestInfo, status: int | None, seconds: float) -> None:
        """Record how long the answer to a request took, in seconds."""
        self._response_duration.record(seconds, _of_request(info, status))

    def observer_failed(self, observer: str) -> None:
        """Count an error of an observer."""
        self._observer_errors.add(1, {semconv.OBSERVER: observer})


def _of_request(info: RequestInfo, status: int | None) -> dict[str, str | int]:
    """Return the attributes of a request: its method, route and status, as far as they are known."""
    attributes: dict[str, str | int] = {}
    if info.method is not None:
        attributes[semconv.HTTP_METHOD] = info.method
    if info.route is not None:
        attributes[semconv.HTTP_ROUTE] = ROUTES.admit(info.route)
    if status is not None:
        attributes[semconv.HTTP_STATUS] = admit_status(status)
    return attributes


def _observe_process(meter: Any, oldest_ages: OldestAges, start: Callable[[], float]) -> None:
    """Create the gauges of the process: the oldest runs, the worker threads, its start, the version."""

    def gauge(metric: semconv.Metric, read: Callable[[], list[Observation]]) -> None:
        meter.create_observable_gauge(metric.name, [lambda _: read()], metric.unit, metric.help)

    def ages() -> list[Observation]:
        return [
            Observation(age, {semconv.TASK_STATE: state, semconv.TASK_ENGINE: engine})
            for state, engine, age in oldest_ages().by_state
        ]

    def running() -> list[Observation]:
        return [
            Observation(age, {semconv.TASK_NAME: name, semconv.TASK_ENGINE: engine})
            for name, engine, age in oldest_ages().running
        ]

    def named(system: str, queue: str) -> dict[str, str]:
        return {semconv.MESSAGING_SYSTEM: system, semconv.MESSAGING_DESTINATION: queue}

    def messages() -> list[Observation]:
        return [Observation(count, named(system, queue)) for system, queue, count, _ in depths.current()]

    def oldest() -> list[Observation]:
        found = depths.current()
        return [Observation(age, named(system, queue)) for system, queue, _, age in found if age is not None]

    gauge(semconv.OLDEST_AGE, ages)
    gauge(semconv.RUNNING_AGE, running)
    gauge(semconv.QUEUE_MESSAGES, messages)
    gauge(semconv.QUEUE_OLDEST_AGE, oldest)
    gauge(semconv.THREADS_BUSY, lambda: [Observation(worker_threads().busy)])
    gauge(semconv.THREADS_LIMIT, lambda: [Observation(worker_threads().limit)])
    gauge(semconv.THREADS_WAITING, lambda: [Observation(worker_threads().waiting)])
    gauge(semconv.PROCESS_START, lambda: [Observation(start())])
    gauge(semconv.ACCOUNT_START, lambda: [Observation(start())])
    gauge(semconv.INFO, lambda: [Observation(1, {semconv.VERSION: __version__})])


def exemplar_context(run: TaskRun) -> otel.Context | None:
    """Return a context with the run's span, which has ended or is not current when the value is recorded."""
    return context_of(run.trace_id, run.span_id, sampled=True) if run.sampled else None


_of_provider: weakref.WeakKeyDictionary[MeterProvider, OtelMetrics] = weakref.WeakKeyDictionary()


def _forget_recorded(instrument: Any) -> None:
    """Take out of the SDK's storage what has been recorded; else a child would export its parent's values, too."""
    instrument = getattr(instrument, "_real_instrument", None) or instrument
    consumer = getattr(instrument, "_measurement_consumer", None)
    for storage in getattr(consumer, "_reader_storages", {}).values():
        storage._instrument_view_instrument_matches.pop(instrument, None)


def _forget() -> None:
    for observer in list(_of_provider.values()):
        observer.forget()


forks.in_child(_forget)


def otel_metrics(meter_provider: MeterProvider | None, oldest_ages: OldestAges) -> OtelMetrics:
    """Return the observer of a meter provider (the global one by default), shared by its applications."""
    provider = meter_provider if meter_provider is not None else get_meter_provider()
    observer = _of_provider.get(provider)
    if observer is None:
        observer = _of_provider[provider] = OtelMetrics(provider, oldest_ages)
    return observer
