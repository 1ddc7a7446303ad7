"""Bounds on the distinct values of a label, which also bound a metric's memory, here and in Prometheus."""

from __future__ import annotations

from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

from .text import clean_name
from .variables import positive

OTHER: Final = "other"
_STATUSES: Final = frozenset(map(int, HTTPStatus))


class CardinalityLimit:
    """Admits distinct values of a label up to a limit; the rest become ``other``."""

    def __init__(self, variable: str, default: int) -> None:
        self._variable = variable
        self._default = default
        self._seen: dict[str, str] = {}

    @cached_property
    def limit(self) -> int:
        """How many; read when it is first asked for, when a slip in the variable can be logged."""
        return positive(self._variable, self._default)

    def admit(self, value: str) -> str:
        """Return the value, or ``other`` once the limit is reached."""
        known = self._seen.get(value)
        if known is not None:
            return known
        if len(self._seen) >= self.limit:
            return OTHER
        # what cannot be encoded cannot be scraped: a name may have been set to anything
        return self._seen.setdefault(value, clean_name(value))


def admit_status(status: Any) -> int | str:
    """Return a response's status, or ``other`` for one that HTTP does not know: a client may choose the number."""
    return int(status) if isinstance(status, int) and status in _STATUSES else OTHER


TASK_NAMES: Final = CardinalityLimit("AFTERWORD_MAX_TASK_NAMES", 100)
"""Distinct task names of this process, at most 100 (``AFTERWORD_MAX_TASK_NAMES``)."""
ROUTES: Final = CardinalityLimit("AFTERWORD_MAX_ROUTES", 1000)
"""Distinct routes on metrics of this process, at most 1000 (``AFTERWORD_MAX_ROUTES``)."""
ERROR_TYPES: Final = CardinalityLimit("AFTERWORD_MAX_ERROR_TYPES", 100)
"""Distinct error types on metrics of this process, at most 100 (``AFTERWORD_MAX_ERROR_TYPES``)."""
QUEUES: Final = CardinalityLimit("AFTERWORD_MAX_QUEUES", 100)
"""Distinct queues on metrics of this process, at most 100 (``AFTERWORD_MAX_QUEUES``)."""
