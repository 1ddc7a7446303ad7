"""Explains which other metric already uses one of our names."""

from __future__ import annotations

import sys
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector


def describe_collision(registry: CollectorRegistry, collector: Collector, fault: ValueError) -> str:
    """Return which names of a collector are taken in a registry, by what, and what to do about it."""
    taken: dict[str, Any] = getattr(registry, "_names_to_collectors", {})
    try:
        ours = registry._get_names(collector)
        others = {id(taken[name]): (name, taken[name]) for name in reversed(ours) if name in taken}
        found = "; ".join(f"{name!r} is {_described(other)}" for name, other in reversed([*others.values()]))
    except Exception:  # noqa: BLE001  not prometheus_client's own registry; the fault at least names the metrics
        found = ""
    return (
        f"this registry already has metrics with our names: {found or fault}; "
        "pass registry=CollectorRegistry() to give Afterword its own, or registry=None for no Prometheus series"
    )


def _described(collector: Any) -> str:
    kind = type(collector)
    described = f"a {kind.__module__}.{kind.__qualname__}"
    # prometheus_client's types do not say who created them; usually it is a module's global variable
    for name, module in list(sys.modules.items()):
        variables = getattr(module, "__dict__", None) or {}
        if any(value is collector for value in list(variables.values())):
            return f"{described} of {name}"
    return described
