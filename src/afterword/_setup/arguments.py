"""Checks the arguments of ``instrument``. Errors name the argument."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from fastapi.params import Depends
from prometheus_client import CollectorRegistry

from .._common.observer import TaskObserver
from .._common.variables import EXCEPTION_MESSAGES, flag
from .._ledger.instrumentation import Settings

PATH_OF_CONSOLE: Final = "a path such as /afterword, of letters, digits and . _ ~ -,"
_CONSOLE: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~-]+)+", re.ASCII)
_MOST_CONSOLE: Final = 200


def checked(*, metrics_path: Any = None, path_given: bool = False, **arguments: Any) -> Settings:
    """Return settings; raises ``TypeError`` or ``ValueError`` that names the invalid argument."""
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
        journal=_checked_directory("journal", arguments["journal"]),
        console=None if arguments["console"] is None else checked_console(arguments["console"]),
        console_dependencies=_checked_dependencies(arguments["console_dependencies"]),
        path_given=path_given,
        exception_messages=_checked_messages(arguments.get("exception_messages")),
        response_duration=_checked_switch("response_duration", arguments.get("response_duration", False)),
        metrics_port=_checked_port(arguments.get("metrics_port")),
    )


def refuse(what: str, **given: bool) -> None:
    """Raise ``TypeError`` for an argument that was given, and means nothing for this kind of application."""
    for argument, is_given in given.items():
        if is_given:
            raise TypeError(f"{argument}: it means nothing for {what}")


def _checked_provider(argument: str, provider: Any, method: str) -> Any:
    # by method: vendors' providers need not inherit from OpenTelemetry's
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


def _checked_switch(argument: str, wanted: Any) -> bool:
    if not isinstance(wanted, bool):
        raise TypeError(f"{argument}: True or False is needed, not {wanted!r}")
    return wanted


def _checked_messages(wanted: Any) -> bool:
    if wanted is None:
        return flag(EXCEPTION_MESSAGES, default=True)
    if not isinstance(wanted, bool):
        raise TypeError(f"exception_messages: True, False or None is needed, not {wanted!r}")
    return wanted


def _checked_port(port: Any) -> int | None:
    if port is None:
        return None
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"metrics_port: a number or None is needed, not {port!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"metrics_port: {port!r} is no port")
    return port


def _checked_directory(argument: str, directory: Any) -> str | None:
    if directory is None:
        return None
    path = os.fspath(directory) if isinstance(directory, os.PathLike) else directory
    if not isinstance(path, str):
        raise TypeError(f"{argument}: the path of a directory or None is needed, not {directory!r}")
    if not path or "\0" in path:
        raise ValueError(f"{argument}: {directory!r} is not the path of a directory")
    return path


def checked_console(path: Any) -> str:
    """Return where the console is to be; raises ``TypeError`` or ``ValueError``."""
    if not isinstance(path, str):
        raise TypeError(f"console: {PATH_OF_CONSOLE} or None is needed, not {path!r}")
    trimmed: str = path.rstrip("/")
    if not _CONSOLE.fullmatch(trimmed) or len(trimmed) > _MOST_CONSOLE:
        raise ValueError(f"console: {PATH_OF_CONSOLE} is needed, not {path!r}")
    return trimmed


def _checked_dependencies(dependencies: Any) -> tuple[Depends, ...]:
    if not isinstance(dependencies, Iterable) or isinstance(dependencies, str):
        raise TypeError(f"console_dependencies: a list of Depends(...) is needed, not {dependencies!r}")
    checked = tuple(dependencies)
    for dependency in checked:
        if not isinstance(dependency, Depends):
            raise TypeError(f"console_dependencies: {dependency!r} is no Depends(...)")
    return checked


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
