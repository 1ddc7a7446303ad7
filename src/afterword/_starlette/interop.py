"""Who traces the requests: FastAPI itself where it can, OpenTelemetry contrib on a FastAPI that cannot."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from typing import Any

from fastapi import FastAPI

from .._common.faults import EXITS, warn
from .._common.settings import Settings


class _Exclude:
    """Keeps scrapes out of FastAPI's native telemetry, beside what the user excludes."""

    def __init__(self, path: str, others: Any) -> None:
        self.path = path
        self.others = others

    def __call__(self, scope: Any) -> bool:
        return scope.get("path") == self.path or bool(self.others is not None and self.others(scope))


def exclude(app: Any, path: str) -> None:
    """Keep a path out of native tracing, beside what the user keeps out."""
    config = _native_config(app)
    if config is not None and not isinstance(config.get("exclude"), _Exclude):
        config["exclude"] = _Exclude(path, config.get("exclude"))


def include(app: Any) -> None:
    """Undo ``exclude``."""
    config = _native_config(app)
    if config is not None and isinstance(config.get("exclude"), _Exclude):
        config["exclude"] = config["exclude"].others


def trace(app: Any, settings: Settings, metrics_path: str | None) -> bool:
    """Let OpenTelemetry contrib trace the requests of an old FastAPI; return whether that was done here."""
    if not isinstance(app, FastAPI) or has_native() or getattr(app, "_is_instrumented_by_opentelemetry", False):
        return False
    if app.middleware_stack is not None:
        warn("the application is serving already; its requests cannot be traced any more")
        return False
    try:
        _instrument(app, settings, metrics_path)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001  half installed, or of a version that does not fit
        warn("requests are not traced; OpenTelemetry's FastAPI instrumentation fails: %r", fault)
        return False
    return True


def _instrument(app: Any, settings: Settings, metrics_path: str | None) -> None:
    contrib: Any = importlib.import_module("opentelemetry.instrumentation.fastapi")
    contrib.FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=settings.tracer_provider,
        meter_provider=settings.meter_provider,
        excluded_urls=_excluded_urls(metrics_path),
    )
    # contrib before 0.63b0 remembers every application for good; we take ours out ourselves
    remembered = getattr(getattr(contrib, "_InstrumentedFastAPI", None), "_instrumented_fastapi_apps", None)
    if isinstance(remembered, set):
        remembered.discard(app)


def untrace(app: Any) -> None:
    """Undo ``trace``."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    if getattr(app, "_is_instrumented_by_opentelemetry", False):
        FastAPIInstrumentor.uninstrument_app(app)


def warn_of_adoption(app: Any) -> None:
    """Say what to switch off where ``new_trace`` cannot hold, because a span is already open and is adopted."""
    config = _native_config(app)
    if config is not None and config.get("tracing") and config.get("operation_spans"):
        warn(
            "new_trace=True has no effect on tasks for which FastAPI opens a span of its own; "
            'switch those off with FastAPI(telemetry={"operation_spans": False})'
        )


def has_native() -> bool:
    """Return whether this FastAPI has telemetry of its own."""
    try:
        return importlib.util.find_spec("fastapi.telemetry") is not None
    except ValueError:  # somebody has put a module without a spec in its place
        return False


def _native_config(app: Any) -> dict[str, Any] | None:
    config = getattr(getattr(app, "_native_telemetry", None), "config", None)
    return config if isinstance(config, dict) else None


def _excluded_urls(metrics_path: str | None) -> str:
    """Return what the user excludes by environment, and our scrapes."""
    excluded = os.environ.get("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS") or os.environ.get(
        "OTEL_PYTHON_EXCLUDED_URLS", ""
    )
    ours = f"{re.escape(metrics_path)}$" if metrics_path is not None else ""
    return ",".join(part for part in (excluded, ours) if part)
