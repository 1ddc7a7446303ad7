"""Tallies as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
from .aggregation import Histogram, Tallies, Tally


class TallyCollector(Collector):
    """Renders the tallies at the time of a scrape."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that a second registration is an error."""
        return _Families().all()

    def collect(self) -> Iterable[Metric]:
        """Return the families with the current tallies."""
        families = _Families()
        for tally in self._tallies.copies():
            families.add(tally)
        return families.all()


class _Families:
    """One family per task metric."""

    def __init__(self) -> None:
        self.scheduled = _counter(semconv.SCHEDULED)
        self.started = _counter(semconv.STARTED)
        self.ended = _counter(semconv.ENDED)
        self.failures = _counter(semconv.FAILURES)
        self.lost = _counter(semconv.LOST)
        self.pending = _gauge(semconv.PENDING)
        self.running = _gauge(semconv.RUNNING)
        self.wait = _histogram(semconv.WAIT)
        self.thread_wait = _histogram(semconv.THREAD_WAIT)
        self.duration = _histogram(semconv.DURATION)

    def all(self) -> list[Metric]:
        return list(vars(self).values())

    def add(self, tally: Tally) -> None:
        name = tally.name
        self.scheduled.add_metric([name], tally.scheduled)
        self.started.add_metric([name], tally.started)
        self.pending.add_metric([name], tally.pending)
        self.running.add_metric([name], tally.running)
        for outcome, count in tally.ended.items():
            self.ended.add_metric([name, outcome], count)
        for kind, count in tally.failures.items():
            self.failures.add_metric([name, kind], count)
        self.lost.add_metric([name], tally.lost)
        _add(self.wait, [name], tally.wait)
        if tally.thread_wait is not None:
            _add(self.thread_wait, [name], tally.thread_wait)
        for outcome, times in tally.durations.items():
            _add(self.duration, [name, outcome], times)


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
