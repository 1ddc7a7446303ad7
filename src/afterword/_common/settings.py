"""The arguments of ``instrument``: checked, comparable, and for zero-code use read from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from prometheus_client import REGISTRY, CollectorRegistry
from starlette.requests import HTTPConnection

from .faults import warn
from .model import TaskObserver, TaskRun

DEFAULT_PATH: Final = "/metrics"

RequestErrorCallback: TypeAlias = Callable[[HTTPConnection, BaseException], object]
"""A function for ``on_request_error``, sync or async: ``function(request, exc)``.

``request`` is the ``Request``, or the ``HTTPConnection`` of a WebSocket; ``exc`` is what ended it, the
cancellation by a timeout included.
"""
TaskFailureCallback: TypeAlias = Callable[[TaskRun, BaseException | None], object]
"""A function for ``on_task_failure``, sync or async: ``function(run, exc)``.

``exc`` is what the task raised; ``None`` where nothing came out of it: it returned what nobody awaits
(``run.reason`` is ``never_awaited``), or another tool has caught it; ``run.detail`` tells.
"""

_NO = ("false", "0", "no", "off")
_YES = ("true", "1", "yes", "on")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``instrument``, checked."""

    traces: bool = True
    metrics: bool = True
    logs: bool = True
    tracer_provider: Any = None
    meter_provider: Any = None
    registry: Any = None
    metrics_path: str | None = None
    on_request_error: tuple[RequestErrorCallback, ...] = ()
    on_task_failure: tuple[TaskFailureCallback, ...] = ()
    observers: tuple[TaskObserver, ...] = ()
    new_trace: bool = False
    path_given: bool = False
    """``metrics_path`` was asked for: it is an error if the path is taken."""


def checked(*, metrics_path: Any = None, path_given: bool = False, **arguments: Any) -> Settings:
    """Return settings; raises ``TypeError`` or ``ValueError`` naming the argument that cannot be."""
    return Settings(
        traces=arguments["traces"],
        metrics=arguments["metrics"],
        logs=arguments["logs"],
        tracer_provider=_checked_provider("tracer_provider", arguments["tracer_provider"], "get_tracer"),
        meter_provider=_checked_provider("meter_provider", arguments["meter_provider"], "get_meter"),
        registry=_checked_registry(arguments["registry"]),
        metrics_path=_checked_path(metrics_path),
        on_request_error=_checked_functions("on_request_error", arguments["on_request_error"]),
        on_task_failure=_checked_functions("on_task_failure", arguments["on_task_failure"]),
        observers=_checked_observers(arguments["observers"]),
        new_trace=arguments["new_trace"],
        path_given=path_given,
    )


def from_environment(**arguments: Any) -> Settings:
    """Return the settings of ``AFTERWORD_*``, for an application that is instrumented without a line of code.

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
        from .._signals.otel_logs import OpenTelemetryLogs

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


def opentelemetry_is_disabled() -> bool:
    """Return whether ``OTEL_SDK_DISABLED`` switches OpenTelemetry off on purpose."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _flag(variable: str, *, default: bool) -> bool:
    value = os.environ.get(variable, "").strip().lower()
    if value in _YES or value in _NO:
        return value in _YES
    if value:
        raise ValueError(f"{variable}: true or false is needed, not {value!r}")
    return default


def _checked_provider(argument: str, provider: Any, method: str) -> Any:
    # by its method, since vendors' providers need not inherit from OpenTelemetry's
    if provider is not None and not callable(getattr(provider, method, None)):
        raise TypeError(f"{argument}: an OpenTelemetry provider or None is needed, not {provider!r}")
    return provider


def _checked_registry(registry: Any) -> CollectorRegistry | None:
    if registry is not None and not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry: a prometheus_client.CollectorRegistry or None is needed, not {registry!r}")
    return registry


def _checked_path(path: Any) -> str | None:
    if path is None:
        return None
    if not isinstance(path, str):
        raise TypeError(f"metrics_path: a string or None is needed, not {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"metrics_path: {path!r} must start with a slash")
    return path


def _checked_functions(argument: str, functions: Any) -> tuple[Callable[..., Any], ...]:
    if callable(functions) or not isinstance(functions, Iterable) or isinstance(functions, str):
        raise TypeError(f"{argument}: a list of functions is needed, not {functions!r}")
    checked = tuple(functions)
    for function in checked:
        if not callable(function):
            raise TypeError(f"{argument}: {function!r} is not callable")
    return checked


def _checked_observers(observers: Any) -> tuple[TaskObserver, ...]:
    if isinstance(observers, TaskObserver) or not isinstance(observers, Iterable):
        raise TypeError(f"observers: a list of TaskObserver instances is needed, not {observers!r}")
    checked = tuple(observers)
    for observer in checked:
        if not isinstance(observer, TaskObserver):
            raise TypeError(f"observers: {observer!r} is no TaskObserver instance")
    return checked
