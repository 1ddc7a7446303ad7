"""Every configuration that is measured, by name; nothing is imported before one is made."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Configuration(NamedTuple):
    """How to make an application: a function of a module here, and what it is called with."""

    label: str
    function: str
    options: Mapping[str, Any] = MappingProxyType({})
    environment: str = "own"
    """``own``, or the peer whose environment it needs."""

    def make(self) -> Any:
        """Make the application."""
        module, _, name = self.function.rpartition(".")
        return getattr(importlib.import_module(f"tests.benchmarks.{module}"), name)(**self.options)


def _pair(suffix: str, label: str, **options: Any) -> dict[str, Configuration]:
    return {
        f"hand{suffix}": Configuration(f"by hand{label}", "ours.by_hand", options),
        f"afterword{suffix}": Configuration(f"Afterword{label}", "ours.afterword", options),
    }


CONFIGURATIONS: dict[str, Configuration] = {
    "bare": Configuration("bare", "ours.bare"),
    **_pair("", ""),
    "lean": Configuration("by hand, lean", "ours.lean"),
    **_pair("-otel", ", OpenTelemetry metrics", otel=True),
    **_pair("-unsampled", ", trace not sampled", sampled=False),
    **_pair("-native", ", on FastAPI's native span", native=True),
    **_pair("-debug", ", log level debug", debug=True),
    **_pair("-scrape", ", with /metrics", scrape=True),
    "afterword-observers-1": Configuration("Afterword, 1 observer", "ours.afterword", {"observers": 1}),
    "afterword-observers-10": Configuration("Afterword, 10 observers", "ours.afterword", {"observers": 10}),
    "afterword-journal": Configuration("Afterword, with a journal", "ours.afterword", {"kept": "journal"}),
    "afterword-recent": Configuration("Afterword, last runs in memory", "ours.afterword", {"kept": "memory"}),
    "afterword-core": Configuration("Afterword, no signal", "ours.afterword", {"signals": ""}),
    "afterword-traces": Configuration("Afterword, traces only", "ours.afterword", {"signals": "traces"}),
    "afterword-metrics": Configuration("Afterword, metrics only", "ours.afterword", {"signals": "metrics"}),
    "afterword-logs": Configuration("Afterword, logs only", "ours.afterword", {"signals": "logs"}),
    "native": Configuration("FastAPI native", "peers.native", {}, "native"),
    "contrib": Configuration("OpenTelemetry contrib", "peers.contrib", {}, "contrib"),
    "logfire": Configuration("Logfire", "peers.logfire", {}, "logfire"),
    "datadog": Configuration("Datadog", "peers.datadog", {}, "datadog"),
    "datadog-writing": Configuration("Datadog, with its writer", "peers.datadog", {"writing": True}, "datadog"),
    "newrelic": Configuration("New Relic", "peers.newrelic", {}, "newrelic"),
    "sentry": Configuration("Sentry", "peers.sentry", {}, "sentry"),
    "toggled": Configuration("un-instrumented beside", "ours.Toggled"),
}

PEERS = ("native", "contrib", "sentry", "logfire", "datadog", "datadog-writing", "newrelic")
PAIRS = ("", "-otel", "-unsampled", "-native", "-debug")
