"""The variables ``AFTERWORD_*``, all read by one rule.

An empty value is none. One that cannot be read is warned of, once, and the default holds: a slip in a variable
must neither stop an application nor cost it its account.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from .log import once, warn

JOURNAL: Final = "AFTERWORD_JOURNAL"
"""The directory of the journal, for an application and for who reads it."""

EXCEPTION_MESSAGES: Final = "AFTERWORD_EXCEPTION_MESSAGES"
"""Whether the texts of exceptions may leave the process, for an application and for who reads its journal."""

Value = TypeVar("Value")

_NO: Final = ("false", "0", "no", "off")
_YES: Final = ("true", "1", "yes", "on")


def read(variable: str, default: Value, parse: Callable[[str], Value], wanted: str) -> Value:
    """Return what a variable says; the default if it is empty or ``parse`` raises ``ValueError`` at it.

    ``wanted`` says what it should be.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        return default
    try:
        return parse(value)
    except ValueError:
        if once.first("variable", variable, value):
            warn("%s: %s is needed, not %r; it is %s", variable, wanted, value, _said(default))
        return default


def flag(variable: str, *, default: bool) -> bool:
    """Return whether a variable says yes."""
    return read(variable, default, _flag, "true or false")


def positive(variable: str, default: int) -> int:
    """Return the number that a variable says, 1 or more."""
    return read(variable, default, _positive, "a number from 1 on")


def opentelemetry_is_disabled() -> bool:
    """Return whether ``OTEL_SDK_DISABLED`` switches OpenTelemetry off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _flag(value: str) -> bool:
    value = value.lower()
    if value not in _YES + _NO:
        raise ValueError
    return value in _YES


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError
    return number


def _said(default: Any) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
