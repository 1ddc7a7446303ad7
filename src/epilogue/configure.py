"""``configure``: OpenTelemetry and structlog for an application that has set up neither."""

from __future__ import annotations


def configure(service_name: str | None = None, *, json_logs: bool | None = None) -> None:
    """Set up."""
