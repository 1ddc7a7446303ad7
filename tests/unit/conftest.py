"""What the unit tests share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.exporter import prometheus as otel_prometheus
from prometheus_client import CollectorRegistry


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
