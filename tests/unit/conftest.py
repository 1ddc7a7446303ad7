"""What the unit tests share."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.exporter import prometheus as otel_prometheus
from prometheus_client import CollectorRegistry

from afterword.logs import ReportedFilter


@pytest.fixture
def otel_reader(monkeypatch: pytest.MonkeyPatch) -> Callable[[CollectorRegistry], Any]:
    """Provide a function that makes an OpenTelemetry reader which exports into a Prometheus registry."""

    def make(registry: CollectorRegistry) -> Any:
        cls = otel_prometheus.PrometheusMetricReader
        if "registry" in inspect.signature(cls).parameters:
            return cls(registry=registry)
        monkeypatch.setattr(otel_prometheus, "REGISTRY", registry)  # older ones know only the global one
        return cls()

    return make


class Kept(logging.Handler):
    """Keeps the records that pass its filter."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def server_log() -> Iterator[list[logging.LogRecord]]:
    """Provide uvicorn's error logger with the filter, and with a list of what passes it."""
    logger, handler, news = logging.getLogger("uvicorn.error"), Kept(), ReportedFilter()
    logger.addFilter(news)
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
    logger.removeFilter(news)
