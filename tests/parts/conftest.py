"""What the tests of the parts share: a workbench."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.exporter import prometheus as otel_prometheus
from prometheus_client import CollectorRegistry

from tests.parts.bench import Bench, restored_structlog


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Provide a workbench whose lines structlog keeps; afterwards nothing may be left patched."""
    with restored_structlog():
        bench = Bench()
        bench.accounts.lines.configure()
        yield bench
        bench.close()


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
