"""Bounds on the distinct values of a label, which also bound a metric's memory, here and in Prometheus."""

from __future__ import annotations

import os
from typing import Final

from .text import clean_name

OTHER: Final = "other"


class CardinalityLimit:
    """Admits distinct values of a label up to a limit; the rest become ``other``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: dict[str, str] = {}

    def admit(self, value: str) -> str:
        """Return the value, or ``other`` once the limit is reached."""
        known = self._seen.get(value)
        if known is not None:
            return known
        if len(self._seen) >= self.limit:
            return OTHER
        # what cannot be encoded cannot be scraped: a name may have been set to anything
        return self._seen.setdefault(value, clean_name(value))


def _limit(variable: str, default: int) -> int:
    try:
        return max(1, int(os.environ.get(variable, "")))
    except ValueError:
        return default


TASK_NAMES = CardinalityLimit(_limit("AFTERWORD_MAX_TASK_NAMES", 100))
"""Distinct task names of this process, at most 100 (``AFTERWORD_MAX_TASK_NAMES``)."""
ROUTES = CardinalityLimit(_limit("AFTERWORD_MAX_ROUTES", 1000))
"""Distinct routes on metrics of this process, at most 1000 (``AFTERWORD_MAX_ROUTES``)."""
ERROR_TYPES = CardinalityLimit(_limit("AFTERWORD_MAX_ERROR_TYPES", 100))
"""Distinct error types on metrics of this process, at most 100 (``AFTERWORD_MAX_ERROR_TYPES``)."""
