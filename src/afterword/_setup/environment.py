"""The ``AFTERWORD_*`` variables: settings for zero-code instrumentation, and the switch that disables it all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from prometheus_client import REGISTRY

from .._common.variables import JOURNAL, flag, positive, read
from .._ledger.instrumentation import Settings
from .._ledger.journal.retention import Limits
from .._signals.otel_logs import OpenTelemetryLogs
from .arguments import checked

DEFAULT_PATH: Final = "/metrics"


def from_environment(**arguments: Any) -> Settings:
    """Return the settings from ``AFTERWORD_*``, for an application that is instrumented without code.

    Arguments win over the environment. Raises ``TypeError`` or ``ValueError`` that names the invalid argument.
    """
    defaults: dict[str, Any] = {
        "traces": flag("AFTERWORD_TRACES", default=True),
        "metrics": flag("AFTERWORD_METRICS", default=True),
        "logs": flag("AFTERWORD_LOGS", default=True),
        "new_trace": flag("AFTERWORD_NEW_TRACE", default=False),
        "journal": None,
        "metrics_path": _metrics_path(),
        "tracer_provider": None,
        "meter_provider": None,
        "registry": REGISTRY,
        "on_request_error": (),
        "on_task_failure": (),
        "observers": (),
    }
    settings = checked(**(defaults | arguments))
    if flag("AFTERWORD_OTEL_LOGS", default=False):
        settings = replace(settings, observers=(*settings.observers, OpenTelemetryLogs()))
    return settings


def journal_directory() -> str | None:
    """Return the directory that ``AFTERWORD_JOURNAL`` names, with or without code."""
    default: str | None = None
    return read(JOURNAL, default, str, "a directory")


def journal_limits() -> Limits:
    """Return how much of the journal is kept: ``AFTERWORD_JOURNAL_RUNS``, ``_HOURS`` and ``_MB``."""
    usual = Limits()
    return Limits(
        runs=positive("AFTERWORD_JOURNAL_RUNS", usual.runs),
        seconds=positive("AFTERWORD_JOURNAL_HOURS", int(usual.seconds) // 3600) * 3600.0,
        size=positive("AFTERWORD_JOURNAL_MB", usual.size >> 20) << 20,
    )


def is_disabled() -> bool:
    """Return whether ``AFTERWORD_DISABLED`` switches everything off, with or without code."""
    return flag("AFTERWORD_DISABLED", default=False)


def _metrics_path() -> str | None:
    default: str | None = DEFAULT_PATH
    return read("AFTERWORD_METRICS_PATH", default, _path, "a path that starts with a slash, or none,")


def _path(value: str) -> str | None:
    if value.lower() == "none":
        return None
    if not value.startswith("/"):
        raise ValueError
    return value
