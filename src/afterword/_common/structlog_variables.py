"""The context variables that a user binds with structlog. structlog's table of them is not public."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextvars import ContextVar, copy_context
from typing import Any

from structlog import contextvars as structlog_context

from . import semconv

_PREFIX: str = getattr(structlog_context, "STRUCTLOG_KEY_PREFIX", "structlog_")
# all variables ever bound in this process; there are few, so this is cheaper than walking the whole context
_TABLE: dict[str, ContextVar[Any]] | None = getattr(structlog_context, "_CONTEXT_VARS", None)
_OURS = {_PREFIX + key: key for key in semconv.LOG_KEYS}
_NONE: frozenset[str] = frozenset()

Bound = list[tuple[ContextVar[Any], Any]]
"""Variables with their values."""


def bound() -> Bound:
    """Return what is bound here; an unbound variable has the value ``...``."""
    if _TABLE is None:
        found = copy_context().items()
        return [(v, value) for v, value in found if v.name.startswith(_PREFIX) and value is not ...]
    if not _TABLE:
        return []
    known = tuple(_TABLE.values())  # another thread may bind a new one
    return [(variable, value) for variable in known if (value := variable.get(...)) is not ...]


def bound_keys() -> AbstractSet[str]:
    """Return those of our log keys that are bound here; usually none."""
    if _TABLE is None:
        return {_OURS[variable.name] for variable, _ in bound() if variable.name in _OURS}
    if not _TABLE or _TABLE.keys().isdisjoint(_OURS):
        return _NONE
    return {key for name, key in _OURS.items() if name in _TABLE and _TABLE[name].get(...) is not ...}
