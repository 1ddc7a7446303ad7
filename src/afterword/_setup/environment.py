"""The ``AFTERWORD_*`` variables: settings for zero-code instrumentation, and the switch that disables it all."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

from prometheus_client import REGISTRY

from .._common.log import warn
from .._common.settings import Settings
from .._signals.otel_logs import OpenTelemetryLogs
from .arguments import checked

DEFAULT_PATH: Final = "/metrics"
_NO = ("false", "0", "no", "off")
_YES = ("true", "1", "yes", "on")


def from_environment(**arguments: Any) -> Settings:
    """Return the settings from ``AFTERWORD_*``, for an application that is instrumented without code.

    Arguments win over the environment. Raises ``ValueError`` naming the variable that cannot be.
    """
    defaults: dict[str, Any] = {
        "traces": _flag("AFTERWORD_TRACES", default=True),
        "metrics": _flag("AFTERWORD_METRICS", default=True),
        "logs": _flag("AFTERWORD_LOGS", default=True),
        "new_trace": _flag("AFTERWORD_NEW_TRACE", default=False),
        "metrics_path": os.environ.get("AFTERWORD_METRICS_PATH", DEFAULT_PATH),
        "tracer_provider": None,
        "meter_provider": None,
        "registry": REGISTRY,
        "on_request_error": (),
        "on_task_failure": (),
        "observers": (),
    }
    if defaults["metrics_path"].lower() == "none":
        defaults["metrics_path"] = None
    settings = checked(**(defaults | arguments))
    if _flag("AFTERWORD_OTEL_LOGS", default=False):
        settings = replace(settings, observers=(*settings.observers, OpenTelemetryLogs()))
    return settings


def is_disabled() -> bool:
    """Return whether ``AFTERWORD_DISABLED`` switches everything off, with or without code.

    A value that cannot be read must not stop the application that it is there to help: it is warned of.
    """
    try:
        return _flag("AFTERWORD_DISABLED", default=False)
    except ValueError as error:
        warn("%s; it is not switched off", error)
        return False


def _flag(variable: str, *, default: bool) -> bool:
    value = os.environ.get(variable, "").strip().lower()
    if value in _YES or value in _NO:
        return value in _YES
    if value:
        raise ValueError(f"{variable}: true or false is needed, not {value!r}")
    return default
