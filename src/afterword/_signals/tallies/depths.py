"""How full the queues are that this process has published to, as whoever looks into them has found."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Final, NamedTuple, Protocol

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..._common import forks, semconv
from ..multiprocess.numbers import Book

_STALE_SECONDS: Final = 60.0
"""What was found longer ago is not told any more: the broker does not answer."""


class Depth(Protocol):
    """How full a queue is."""

    @property
    def system(self) -> str:
        """The broker, as OpenTelemetry calls it."""
        ...

    @property
    def queue(self) -> str:
        """Its name."""
        ...

    @property
    def messages(self) -> int:
        """How many messages nobody has received."""
        ...

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the oldest one was published, where the broker tells."""
        ...


class _Found(NamedTuple):
    at: float
    messages: int
    oldest_age: float | None


_found: dict[tuple[str, str], _Found] = {}
forks.in_child(_found.clear)


def note(depths: Iterable[Depth]) -> None:
    """Keep what was found just now."""
    now = monotonic()
    for depth in depths:
        _found[depth.system, depth.queue] = _Found(now, depth.messages, depth.oldest_age)


def current() -> list[tuple[str, str, int, float | None]]:
    """Return broker, queue, messages and the age of the oldest one, which has grown since it was found."""
    now = monotonic()
    return [
        (system, queue, messages, None if age is None else age + (now - at if messages else 0.0))
        for (system, queue), (at, messages, age) in list(_found.items())
        if now - at < _STALE_SECONDS
    ]


class DepthCollector(Collector):
    """Renders them at the time of a scrape."""

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that a second registration is an error."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """Return the families with what was found last."""
        messages, oldest = families = self._families()
        for system, queue, count, age in current():
            messages.add_metric([system, queue], count)
            if age is not None:
                oldest.add_metric([system, queue], age)
        return families

    @staticmethod
    def _families() -> list[GaugeMetricFamily]:
        return [
            GaugeMetricFamily(metric.prometheus, metric.help, labels=metric.labels)
            for metric in (semconv.QUEUE_MESSAGES, semconv.QUEUE_OLDEST_AGE)
        ]


def write(book: Book) -> None:
    """Write them for the other processes; of several that publish, the greatest number is told.

    A gauge in a file stays. Where the broker does not answer it is 0: nobody is woken by what is long past.
    """
    told = {(system, queue) for system, queue, _, _ in current()}
    for system, queue in [one for one in list(_found) if one not in told]:
        book.gauge(semconv.QUEUE_MESSAGES, system, queue).set(0)
        book.gauge(semconv.QUEUE_OLDEST_AGE, system, queue).set(0)
    for system, queue, messages, age in current():
        book.gauge(semconv.QUEUE_MESSAGES, system, queue).set(messages)
        if age is not None:
            book.gauge(semconv.QUEUE_OLDEST_AGE, system, queue).set(age)
