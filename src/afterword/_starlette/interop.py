"""Works with FastAPI's own telemetry, and with OpenTelemetry contrib's instrumentation of FastAPI.

A recent FastAPI traces its requests itself; for an older one, contrib does. Either may also open a span for a
background task. Such a span is recognised here, and adopted instead of duplicated.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from opentelemetry.trace import Span
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.types import Scope

from .._common.errors.withheld import keep_out_of
from .._common.faults import EXITS
from .._common.log import warn
from .._ledger.instrumentation import Instrumentation, Settings, consoles
from .http_route import is_of_a_mounted_console, is_our_own

_CONTRIB: Final = "opentelemetry.instrumentation.fastapi"
# known task spans, by instrumentation scope and name
_NATIVE_SCOPE, _NATIVE_NAME = "fastapi", "fastapi.background_task"
_CONTRIB_SCOPE, _CONTRIB_PREFIX = _CONTRIB, "BackgroundTask "

# --- spans of tasks ---------------------------------------------------------------------------------------------


def recognise_task_span(span: Span) -> bool | None:
    """Return whether a span that another instrumentation opened for a task records exceptions by itself.

    ``None`` if it is not such a span, and must not be adopted.
    """
    name = getattr(span, "name", None)
    if not isinstance(name, str) or not (name == _NATIVE_NAME or name.startswith(_CONTRIB_PREFIX)):
        return None
    scope = getattr(getattr(span, "instrumentation_scope", None), "name", None)
    owner = _NATIVE_SCOPE if name == _NATIVE_NAME else _CONTRIB_SCOPE
    return owner == _CONTRIB_SCOPE if scope == owner and span.is_recording() else None


def past_contrib(instrumentation: Instrumentation, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method to call a task with. If we open the span, bypass contrib's patch, which opens its own."""
    past: Callable[..., Any] | None = getattr(BackgroundTask, "_otel_original_call", None)
    if past is not None and instrumentation.settings.traces and original.__module__ == _CONTRIB:
        return past
    return original


# --- spans of requests ------------------------------------------------------------------------------------------


class _Exclude:
    """Excludes our own requests from FastAPI's native telemetry, in addition to what the user excludes."""

    def __init__(
        self, app: Starlette, instrumentation: Instrumentation, others: Callable[[Scope], object] | None
    ) -> None:
        self.app = app
        self.instrumentation = instrumentation
        self.others = others

    def __call__(self, scope: Scope) -> bool:
        try:
            ours = is_our_own(self.instrumentation, scope) or (
                bool(consoles.paths) and is_of_a_mounted_console(self.app, scope)
            )
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self.instrumentation.record_fault("looking for our own requests", fault)
            ours = False
        return ours or bool(self.others is not None and self.others(scope))


def exclude(app: Starlette, instrumentation: Instrumentation) -> None:
    """Exclude our own requests from native tracing, in addition to what the user excludes."""
    config = _native_config(app)
    if config is not None and not isinstance(config.get("exclude"), _Exclude):
        config["exclude"] = _Exclude(app, instrumentation, config.get("exclude"))


def include(app: Starlette) -> None:
    """Undo ``exclude``."""
    config = _native_config(app)
    if config is not None and isinstance(config.get("exclude"), _Exclude):
        config["exclude"] = config["exclude"].others


def trace(app: Starlette, settings: Settings, excluded: list[str]) -> bool:
    """Let OpenTelemetry contrib trace the requests of an older FastAPI; return whether this call set it up.

    Addresses that one of the regular expressions finds are left out.
    """
    if not isinstance(app, FastAPI) or has_native() or getattr(app, "_is_instrumented_by_opentelemetry", False):
        return False
    if _is_switched_off():
        return False
    if app.middleware_stack is not None:
        warn("the application is serving already; its requests cannot be traced any more")
        return False
    try:
        _instrument(app, settings, excluded)
    except EXITS:
        raise
    except BaseException as fault:  # noqa: BLE001  half installed, or of a version that does not fit
        warn("requests are not traced; OpenTelemetry's FastAPI instrumentation fails: %r", fault)
        return False
    return True


def _instrument(app: FastAPI, settings: Settings, excluded: list[str]) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=settings.tracer_provider,
        meter_provider=settings.meter_provider,
        excluded_urls=_excluded_urls(excluded),
        server_request_hook=None if settings.exception_messages else _without_texts,
    )


def _without_texts(span: Any, scope: Scope) -> None:
    keep_out_of(span)


def untrace(app: Starlette) -> None:
    """Undo ``trace``."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    if isinstance(app, FastAPI) and getattr(app, "_is_instrumented_by_opentelemetry", False):
        FastAPIInstrumentor.uninstrument_app(app)


def warn_of_adoption(app: Starlette) -> None:
    """Say what to switch off if ``new_trace`` has no effect, because an open span is adopted."""
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
    except ValueError:  # replaced by a module without a spec
        return False


def _native_config(app: Starlette) -> dict[str, Any] | None:
    config = getattr(getattr(app, "_native_telemetry", None), "config", None)
    return config if isinstance(config, dict) else None


def _is_switched_off() -> bool:
    """Return whether the environment names contrib's instrumentation among those that are not wanted."""
    named = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    return not {"fastapi", "*"}.isdisjoint(name.strip() for name in named)


def _excluded_urls(ours: list[str]) -> str:
    """Return the URLs that the environment excludes, and our own."""
    excluded = os.environ.get("OTEL_PYTHON_FASTAPI_EXCLUDED_URLS") or os.environ.get(
        "OTEL_PYTHON_EXCLUDED_URLS", ""
    )
    return ",".join(part for part in (excluded, *ours) if part)
