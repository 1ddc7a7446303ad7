"""Write one structured line: through structlog as the user has configured it, else through stdlib logging."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import structlog
from structlog import contextvars as structlog_context

_LOGGER = "epilogue"
_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def emit(level: str, event: str, keys: dict[str, Any]) -> None:
    """Write an event with its keys, without those that are ``None`` or that the user has bound."""
    for key, value in list(keys.items()):
        if value is None or _is_bound(key):
            del keys[key]
    if not structlog.is_configured():
        _emit_stdlib(level, event, keys)
        return
    logged = getattr(structlog.get_logger(_LOGGER), level)(event, **keys)
    if inspect.iscoroutine(logged):  # AsyncBoundLogger: this is no place to await
        logged.close()
        bound = structlog.get_logger(_LOGGER).bind()
        getattr(getattr(bound, "sync_bl", bound), level)(event, **keys)


def _is_bound(key: str) -> bool:
    """Return whether the user has bound a key as a context variable, which ours must not overwrite."""
    variable = structlog_context._CONTEXT_VARS.get(structlog_context.STRUCTLOG_KEY_PREFIX + key)
    return variable is not None and variable.get() is not Ellipsis


def _emit_stdlib(level: str, event: str, keys: dict[str, Any]) -> None:
    exc_info = keys.pop("exc_info", None)
    text = " ".join([event, *(f"{key}={value}" for key, value in keys.items())])
    logging.getLogger(_LOGGER).log(_NUMBERS[level], "%s", text, exc_info=exc_info)
