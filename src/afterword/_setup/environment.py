"""The ``AFTERWORD_*`` variables: settings for zero-code instrumentation, and the switch that disables it all."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any, Final

from prometheus_client import REGISTRY

from .._common.log import once, warn
from .._common.variables import JOURNAL, flag, positive, read
from .._ledger.instrumentation import Settings
from .._ledger.journal.retention import Limits
from .._signals.otel_logs import OpenTelemetryLogs
from .arguments import PATH_OF_CONSOLE, checked, checked_console

DEFAULT_PATH: Final = "/metrics"
CONSOLE: Final = "AFTERWORD_CONSOLE"
CONSOLE_TOKEN: Final = "AFTERWORD_CONSOLE_TOKEN"  # noqa: S105  its name
_TOKEN: Final = re.compile(r"[!-~]{16,300}")


def from_environment(**arguments: Any) -> Settings:
    """Return the settings from ``AFTERWORD_*``, for an application that is instrumented without code.

    Arguments win over the environment. Raises ``TypeError`` or ``ValueError`` that names the invalid argument.
    """
    defaults: dict[str, Any] = {
        "traces": flag("AFTERWORD_TRACES", default=True),
        "metrics": flag("AFTERWORD_METRICS", default=True),
        "logs": flag("AFTERWORD_LOGS", default=True),
        "new_trace": flag("AFTERWORD_NEW_TRACE", default=False),
        "response_duration": flag("AFTERWORD_RESPONSE_DURATION", default=False),
        "journal": None,
        "console": None,
        "console_dependencies": (),
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


def console_path() -> str | None:
    """Return where ``AFTERWORD_CONSOLE`` puts the console, with or without code."""
    default: str | None = None
    return read(CONSOLE, default, _console, f"{PATH_OF_CONSOLE}, or none,")


def console_token() -> str | None:
    """Return the token of ``AFTERWORD_CONSOLE_TOKEN``. What is wrong with one is said without telling it."""
    token = os.environ.get(CONSOLE_TOKEN, "").strip()
    if not token or _TOKEN.fullmatch(token):
        return token or None
    if once.first("variable", CONSOLE_TOKEN):
        warn("%s: 16 to 300 visible ASCII characters are needed; another token is made", CONSOLE_TOKEN)
    return None


def trace_url() -> str | None:
    """Return the address of a trace that ``AFTERWORD_TRACE_URL`` says, with its id as ``{trace_id}``."""
    default: str | None = None
    wanted = "an address that begins with http:// or https:// and has {trace_id} in it"
    return read("AFTERWORD_TRACE_URL", default, _trace_url, wanted)


def is_disabled() -> bool:
    """Return whether ``AFTERWORD_DISABLED`` switches everything off, with or without code."""
    return flag("AFTERWORD_DISABLED", default=False)


def _metrics_path() -> str | None:
    default: str | None = DEFAULT_PATH
    return read("AFTERWORD_METRICS_PATH", default, _path, "a path that starts with a slash, or none,")


def _console(value: str) -> str | None:
    return None if value.lower() == "none" else checked_console(value)


def _trace_url(value: str) -> str:
    # not in the place of the host
    if not re.match(r"https?://[^/{}]+/.*\{trace_id\}", value, re.I):
        raise ValueError
    return value


def _path(value: str) -> str | None:
    if value.lower() == "none":
        return None
    if not value.startswith("/"):
        raise ValueError
    return value
