"""Write structured log lines, through structlog as the user has configured it, or else through stdlib logging."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import structlog

from . import semconv
from .context import bound_keys
from .errors.exceptions import ExcInfo, exc_info
from .errors.tracebacks import innermost
from .faults import contained
from .text import logfmt

_NUMBERS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# structlog's own classes that are made for one level: asked for any lower one, they do nothing
_LEAST_LEVEL = {
    structlog.make_filtering_bound_logger(number): number for number in (logging.NOTSET, *_NUMBERS.values())
}

_MOST_SAID = 100

Line = Callable[..., Any]


class Once:
    """What this process has said already, where once is enough."""

    def __init__(self) -> None:
        self._said: dict[str, set[tuple[str, ...]]] = {}

    def first(self, subject: str, *what: str) -> bool:
        """Return whether this has not been said of a subject yet, and remember it.

        Of each subject, at most 100 things are said: paths and values may be endless.
        """
        said = self._said.setdefault(subject, set())
        if what in said or len(said) >= _MOST_SAID:
            return False
        said.add(what)
        return True

    def forget(self) -> None:
        """Say everything again; for tests."""
        self._said.clear()


once = Once()


def log_fault(message: str, fault: BaseException) -> None:
    """Log an internal error or one of an observer. Never raises, whatever a log handler does."""
    with contained():
        logging.getLogger(semconv.SCOPE).error("afterword: %s", message, exc_info=exc_info(fault, whole=True))


def warn(message: str, *args: Any) -> None:
    """Log something that the user should fix. Never raises."""
    with contained():
        logging.getLogger(semconv.SCOPE).warning("afterword: " + message, *args)


class Emitter:
    """Finds the method to log with, and checks that the level is enabled before a line is built."""

    def __init__(self) -> None:
        # a lazy proxy: it follows the user's configuration, even if that comes later
        self._logger = structlog.get_logger(semconv.SCOPE)
        # cached for the current class of its loggers
        self._cls: type | None = None
        self._enabled: Callable[[Any, int], bool] | None = None
        self.least = logging.NOTSET
        """The least level that is enabled, once that is known for good: lower lines need not even be asked for."""
        self._kept: Any = None
        """The bound logger, if the user's configuration keeps it, and its class is made for one level."""

    def line(self, level: str) -> Line | None:
        """Return a function to call as ``line(event, **keys)``; ``None`` if the level is disabled."""
        number = _NUMBERS[level]
        if self._kept is not None:
            return getattr(self._kept, level) if self.least <= number else None
        if not structlog.is_configured():
            logger = logging.getLogger(semconv.SCOPE)
            return functools.partial(_stdlib_line, logger, number) if logger.isEnabledFor(number) else None
        # to bind a logger that is not kept is expensive, so the level is asked for first
        wrapper = structlog.get_config()["wrapper_class"]
        least = _LEAST_LEVEL.get(wrapper)
        if least is not None and least > number:
            return None
        if _synchronous_class(wrapper) is not None:
            return self._line(_configured_logger(), level)
        bound = self._logger.bind()
        if _LEAST_LEVEL.get(type(bound)) is not None and self._logger.bind() is bound:
            self._kept, self.least = bound, _LEAST_LEVEL[type(bound)]
        return self._line(bound, level)

    def write_traceback(self, level: str, event: str, keys: dict[str, Any], exc_info: ExcInfo) -> bool:
        """Write a line with a traceback; return whether it was written, as far as can be known here.

        A processor may drop the line or its traceback, and a logger may have no handler.
        """
        number = _NUMBERS[level]
        if not structlog.is_configured():
            logger = logging.getLogger(semconv.SCOPE)
            if not logger.isEnabledFor(number):
                return False
            _stdlib_line(logger, number, event, exc_info, **keys)
            return _is_heard(logger, number)
        # the user's current configuration, with one processor appended
        witness = _Witness(number, exc_info)
        processors = [*structlog.get_config()["processors"], witness]
        line = self._line(_configured_logger(processors=processors, cache_logger_on_first_use=False), level)
        if line is not None:
            line(event, **keys, exc_info=exc_info)
        return witness.went_out

    def _line(self, bound: Any, level: str) -> Line | None:
        if type(bound) is not self._cls:
            self._know(bound)
        if self._enabled is not None and not self._enabled(bound, _NUMBERS[level]):
            return None
        line: Line = getattr(bound, level)
        return line

    def _know(self, bound: Any) -> None:
        # look at the class: some bound loggers delegate any attribute to the logger they wrap
        self._cls = cls = type(bound)
        self._enabled = getattr(cls, "is_enabled_for", None) or getattr(cls, "isEnabledFor", None)


def _configured_logger(**options: Any) -> Any:
    """Return a bound logger as the user has configured it, with some options of ours.

    In place of an asynchronous one, it is the synchronous one inside: we cannot await, and the other exists only
    where a loop runs, while threads write lines, too.
    """
    synchronous = _synchronous_class(structlog.get_config()["wrapper_class"])
    if synchronous is not None:
        options["wrapper_class"] = synchronous
    return structlog.wrap_logger(None, logger_factory_args=(semconv.SCOPE,), **options).bind()


def _synchronous_class(wrapper: Any) -> Any:
    """Return the class of what is inside structlog's asynchronous logger; ``None`` for one of another kind."""
    if not (isinstance(wrapper, type) and issubclass(wrapper, structlog.stdlib.AsyncBoundLogger)):
        return None
    return getattr(wrapper, "_bound_logger_factory", structlog.stdlib.BoundLogger)


def emit(level: str, event: str, keys: dict[str, Any]) -> None:
    """Write one line outside of any observer. Errors from the user's logging setup are suppressed."""
    with contained():
        line = Emitter().line(level)
        if line is not None:
            line(event, **free_of_bound(keys))


def free_of_bound(keys: dict[str, Any]) -> dict[str, Any]:
    """Return the keys without those that the user has bound as context variables: the user's keys win."""
    taken = bound_keys()
    return {key: value for key, value in keys.items() if key not in taken} if taken else keys


def _stdlib_line(logger: logging.Logger, number: int, event: str, exc_info: Any = None, **keys: Any) -> None:
    logger.log(number, "%s %s", event, logfmt(keys), exc_info=exc_info)


def _is_heard(logger: logging.Logger, number: int) -> bool:
    """Return whether a handler writes lines of this level."""
    if not logger.isEnabledFor(number):
        return False
    handlers: list[logging.Handler] = []
    above: logging.Logger | None = logger
    while above is not None:
        handlers += above.handlers
        above = above.parent if above.propagate else None
    if not handlers and logging.lastResort is not None:
        handlers = [logging.lastResort]
    return any(handler.level <= number and not isinstance(handler, logging.NullHandler) for handler in handlers)


class _Witness:
    """The last processor of a chain. It checks whether a line reaches the logger with its traceback."""

    def __init__(self, number: int, exc_info: ExcInfo) -> None:
        frame = innermost(exc_info[2])
        # names of modules and functions elsewhere on the line have no suffix
        self._file = os.path.basename(frame.tb_frame.f_code.co_filename) if frame is not None else ""
        self._number = number
        self.went_out = False

    def __call__(self, logger: Any, method: str, rendered: Any) -> Any:
        text = rendered.decode(errors="replace") if isinstance(rendered, bytes | bytearray) else rendered
        # if it is not text yet, a stdlib formatter renders it later, with the traceback
        with_traceback = not isinstance(text, str) or self._file in text
        heard = not isinstance(logger, logging.Logger) or _is_heard(logger, self._number)
        self.went_out = with_traceback and heard
        return rendered
