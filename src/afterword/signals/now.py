"""The numbers that hold only now: the ages of the oldest runs, and the use of the worker threads.

In one process they are read when Prometheus scrapes. Of several processes only one answers a scrape, so each
writes its own every second, where all can read them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar

from prometheus_client import CollectorRegistry, Gauge, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import names
from .oldest import OldestRuns
from .threads import WorkerThreads, worker_threads

_REFRESH_SECONDS = 1.0
_STATES = (names.STATE_PENDING, names.STATE_RUNNING)
_sampled: ContextVar[WorkerThreads | None] = ContextVar("afterword_sampled", default=None)
_THREADS = (names.THREADS_BUSY, names.THREADS_LIMIT, names.THREADS_WAITING)


def several_processes() -> bool:
    """Return whether prometheus_client counts in files, for several processes (``PROMETHEUS_MULTIPROC_DIR``)."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def watch_now(registry: CollectorRegistry, oldest: OldestRuns) -> NowGauges | None:
    """Register these numbers; return what must be started in each process, in multi-process mode."""
    if several_processes():
        return NowGauges(registry, oldest)
    registry.register(_NowCollector(oldest))
    return None


def sample() -> None:
    """Read the use of the worker threads now, for what is rendered later in this context."""
    _sampled.set(worker_threads())


class _NowCollector(Collector):
    """Reads the numbers at the time of a scrape."""

    def __init__(self, oldest: OldestRuns) -> None:
        self._oldest = oldest

    def describe(self) -> Iterable[Metric]:
        return [_family(metric) for metric in (names.OLDEST_AGE, *_THREADS)]

    def collect(self) -> Iterable[Metric]:
        ages = _family(names.OLDEST_AGE)
        for state in _STATES:
            ages.add_metric([state], self._oldest.age(state))
        threads = [_family(metric) for metric in _THREADS]
        for family, value in zip(threads, _sampled.get() or worker_threads(), strict=True):
            family.add_metric([], value)
        return [ages, *threads]


def _family(metric: names.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.prometheus, metric.help, labels=metric.labels)


class NowGauges:
    """Writes the numbers of this process for the others; a thread that begins with its first task."""

    def __init__(self, registry: CollectorRegistry, oldest: OldestRuns) -> None:
        def gauge(metric: names.Metric, mode: str) -> Gauge:
            return Gauge(
                metric.prometheus,
                metric.help,
                metric.labels,
                registry=registry,
                multiprocess_mode=mode,  # type: ignore[arg-type]
            )

        self._oldest = oldest
        self._ages = gauge(names.OLDEST_AGE, "livemax")
        self._threads = [gauge(metric, "livesum") for metric in _THREADS]
        self._started = False
        os.register_at_fork(after_in_child=self._forked)

    def start(self) -> None:
        """Make sure that the thread of this process is there."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="afterword-gauges", daemon=True).start()

    def refresh(self) -> None:
        """Write the numbers as they are now."""
        for state in _STATES:
            self._ages.labels(state).set(self._oldest.age(state))
        for gauge, value in zip(self._threads, worker_threads(), strict=True):
            gauge.set(value)

    def _forked(self) -> None:
        self._started = False

    def _run(self) -> None:
        while True:
            self.refresh()
            time.sleep(_REFRESH_SECONDS)
