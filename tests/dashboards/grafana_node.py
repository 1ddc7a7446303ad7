"""A Node environment with Grafana's published schema, TypeScript, and the grammars of the query languages."""

from __future__ import annotations

from pathlib import Path

from tests.support import node

_PACKAGES = {
    "typescript": node.TYPESCRIPT,
    "@grafana/schema": "11.6.14",
    "@grafana/lezer-logql": "0.2.7",
    "@grafana/lezer-traceql": "0.0.21",
    "@lezer/common": "1.2.3",
    "@lezer/highlight": "1.2.1",
    "@lezer/lr": "1.4.2",
}


def node_environment() -> Path:
    """Install what is needed, unless it is there, and return the directory."""
    return node.node_environment("grafana", _PACKAGES)


def run(command: list[str], stdin: str | None = None) -> str:
    """Run a command there and return its output; what it complains of becomes the failure."""
    return node.run(node_environment(), command, stdin)
