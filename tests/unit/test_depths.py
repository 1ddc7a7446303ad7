"""How full the queues are, in the files that several processes share."""

from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from afterword._common import semconv
from afterword._signals.multiprocess.numbers import book_at
from afterword._signals.tallies import depths


class Depth(NamedTuple):
    """What somebody has found."""

    system: str
    queue: str
    messages: int
    oldest_age: float | None


def told(directory: Path, metric: semconv.Metric) -> float | None:
    """Return what the files say of the queue."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    return registry.get_sample_value(metric.prometheus, dict(zip(metric.labels, ("redis", "mails"), strict=True)))


def test_what_was_found_long_ago_is_no_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A queue is as full as it was found, until the broker has not answered for a minute."""
    monkeypatch.setattr(depths, "_found", {})
    book = book_at(str(tmp_path))
    book.open()
    depths.note([Depth("redis", "mails", 7, 30.0)])
    depths.write(book)
    assert told(tmp_path, semconv.QUEUE_MESSAGES) == 7
    assert told(tmp_path, semconv.QUEUE_OLDEST_AGE) >= 30
    monkeypatch.setattr(depths, "_STALE_SECONDS", 0.0)
    depths.write(book)
    assert (told(tmp_path, semconv.QUEUE_MESSAGES), told(tmp_path, semconv.QUEUE_OLDEST_AGE)) == (0, 0)
