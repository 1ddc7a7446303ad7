"""Write structured lines: through structlog as the user has configured it, else through stdlib logging."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import structlog
from structlog import contextvars as structlog_context

from . import names
from .faults import contained

_LOGGER = "afterword"
_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_VARIABLES = {structlog_context.STRUCTLOG_KEY_PREFIX + key: key for key in names.LOG_KEYS}

Line = Callable[..., Any]


class Emitter:
    """Finds the method to log with; asks first whether anybody wants the line, before it is put together."""

    def __init__(self) -> None:
        # a lazy proxy: it follows the user's configuration, also one that comes later
        self._logger = structlog.get_logger(_LOGGER)
        # what is known of the class that its loggers have just now
        self._cls: type | None = None
        self._enabled: Callable[[Any, int], bool] | None = None
        self._asynchronous = False

    def line(self, level: str) -> Line | None:
        """Return what to call as ``line(event, **keys)``; ``None`` if the level is switched off."""
        if not structlog.is_configured():
            logger = logging.getLogger(_LOGGER)
            number = _NUMBERS[level]
            return functools.partial(_stdlib_line, logger, number) if logger.isEnabledFor(number) else None
        bound = self._logger.bind()
        if type(bound) is not self._cls:
            self._know(bound)
        if self._asynchronous:
            bound = bound.sync_bl  # this is no place to await
        if self._enabled is not None and not self._enabled(bound, _NUMBERS[level]):
            return None
        line: Line = getattr(bound, level)
        return line

    def _know(self, bound: Any) -> None:
        self._asynchronous = isinstance(bound, structlog.stdlib.AsyncBoundLogger)
        self._cls = type(bound)
        # asked of the class: some bound loggers hand any attribute on to the logger they wrap
        cls = type(bound.sync_bl) if self._asynchronous else self._cls
        self._enabled = getattr(cls, "is_enabled_for", None) or getattr(cls, "isEnabledFor", None)


def emit(level: str, event: str, keys: dict[str, Any]) -> None:
    """Write one line that no observer writes; a fault of the user's logging is left at that."""
    with contained():
        line = Emitter().line(level)
        if line is not None:
            line(event, **free_of_bound(keys))


def free_of_bound(keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys without those that the user has bound as context variables: his are not overwritten."""
    # structlog knows every variable that was ever bound in this process: mostly none of them is ours
    bound = structlog_context._CONTEXT_VARS
    if not bound or bound.keys().isdisjoint(_VARIABLES):
        return keys
    taken = {key for name, key in _VARIABLES.items() if name in bound and bound[name].get() is not Ellipsis}
    return {key: value for key, value in keys.items() if key not in taken}


def _stdlib_line(logger: logging.Logger, number: int, event: str, exc_info: Any = None, **keys: Any) -> None:
    text = " ".join([event, *(f"{key}={value}" for key, value in keys.items())])
    logger.log(number, "%s", text, exc_info=exc_info)
