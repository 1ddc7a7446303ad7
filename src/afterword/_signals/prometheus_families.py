"""Tallies as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Counter
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from .._common import semconv
from .tallies.queues import QueueTally
from .tallies.tasks import Histogram, TalliesOf, Tally


class PlainCounter(Counter):
    """A counter without the ``_created`` series, regardless of prometheus_client's global setting."""

    def _child_samples(self) -> Iterable[Any]:
        return [sample for sample in super()._child_samples() if sample.name != "_created"]


class TallyCollector(Collector):
    """Renders the tallies at the time of a scrape."""

    def __init__(self, *tallies: TalliesOf[Any]) -> None:
        self._tallies = tallies

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that a second registration is an error."""
        return _Families().all()

    def collect(self) -> Iterable[Metric]:
        """Return the families with the current tallies."""
        families = _Families()
        for tallies in self._tallies:
            for tally in tallies.copies():
                families.add(tally)
        return families.all()


class HistogramCollector(Collector):
    """Renders a histogram that is no task's, at the time of a scrape."""

    def __init__(self, metric: semconv.Metric, copies: Callable[[], list[tuple[list[str], Histogram]]]) -> None:
        self._metric = metric
        self._copies = copies

    def describe(self) -> Iterable[Metric]:
        """Name the family, so that a second registration is an error."""
        return [_histogram(self._metric)]

    def collect(self) -> Iterable[Metric]:
        """Return the family with what was observed."""
        family = _histogram(self._metric)
        for labels, times in self._copies():
            _add(family, labels, times)
        return [family]


class _Families:
    """One family per task metric."""

    def __init__(self) -> None:
        self.scheduled = _counter(semconv.SCHEDULED)
        self.started = _counter(semconv.STARTED)
        self.ended = _counter(semconv.ENDED)
        self.never_ran = _counter(semconv.NEVER_RAN)
        self.failures = _counter(semconv.FAILURES)
        self.returned = _counter(semconv.RETURNED)
        self.lost = _counter(semconv.LOST)
        self.pending = _gauge(semconv.PENDING)
        self.running = _gauge(semconv.RUNNING)
        self.wait = _histogram(semconv.WAIT)
        self.thread_wait = _histogram(semconv.THREAD_WAIT)
        self.held = _histogram(semconv.HELD)
        self.duration = _histogram(semconv.DURATION)

    def all(self) -> list[Metric]:
        return list(vars(self).values())

    def add(self, tally: Tally) -> None:
        name, engine = tally.name, tally.engine
        self.scheduled.add_metric([name, engine], tally.scheduled)
        self.started.add_metric([name, engine], tally.started)
        self.pending.add_metric([name, engine], tally.pending)
        self.running.add_metric([name, engine], tally.running)
        for outcome, count in tally.ended.items():
            self.ended.add_metric([name, outcome, engine], count)
        for why, count in tally.never_ran.items():
            self.never_ran.add_metric([name, *why, engine], count)
        for kind, count in tally.failures.items():
            self.failures.add_metric([name, kind, engine], count)
        for reason, count in tally.returned.items():
            self.returned.add_metric([name, reason, engine], count)
        self.lost.add_metric([name, engine], tally.lost)
        _add(self.wait, [name, engine], tally.wait)
        if tally.thread_wait is not None:
            _add(self.thread_wait, [name, engine], tally.thread_wait)
        if isinstance(tally, QueueTally):
            _add(self.held, [name, engine], tally.held_times)
        for outcome, times in tally.durations.items():
            _add(self.duration, [name, outcome, engine], times)


def _counter(metric: semconv.Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.prometheus, metric.help, labels=metric.labels)


def _gauge(metric: semconv.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.prometheus, metric.help, labels=metric.labels)


def _histogram(metric: semconv.Metric) -> HistogramMetricFamily:
    return HistogramMetricFamily(metric.prometheus, metric.help, labels=metric.labels)


def _add(family: HistogramMetricFamily, labels: list[str], times: Histogram) -> None:
    buckets: list[Any] = []
    for bound, count, seen in times.buckets():
        exemplar = None
        if seen is not None:
            trace_id, span_id, value, timestamp = seen
            exemplar = Exemplar({semconv.KEY_TRACE_ID: trace_id, semconv.KEY_SPAN_ID: span_id}, value, timestamp)
        buckets.append((floatToGoString(bound), float(count), exemplar))
    family.add_metric(labels, buckets, times.total)
