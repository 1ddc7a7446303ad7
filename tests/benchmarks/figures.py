"""Medians with quartiles, and what is made of them round by round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Figure(NamedTuple):
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        """Return it as the tables show it."""
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} [{self.low:,.{digits}f}–{self.high:,.{digits}f}]"


def exactly(value: float) -> Figure:
    """Return a figure that is counted, and so has no spread."""
    return Figure(value, value, value)


def figure(values: Iterable[float]) -> Figure:
    """Return the median and the quartiles of some values."""
    found = sorted(values)
    if len(found) < 2:
        return Figure(found[0], found[0], found[0])
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Figure(median, low, high)


def slopes(none: Iterable[float], many: Iterable[float], tasks: int) -> list[float]:
    """Return what one task added to a request, round by round."""
    return [(with_tasks - without) / tasks for without, with_tasks in zip(none, many, strict=True)]


def differences(values: Iterable[float], base: Iterable[float]) -> list[float]:
    """Return the differences, round by round."""
    return [value - other for value, other in zip(values, base, strict=True)]


def ratios(values: Iterable[float], base: Iterable[float]) -> list[float]:
    """Return the ratios, round by round; a round whose base came out as nothing says nothing."""
    return [value / other for value, other in zip(values, base, strict=True) if other > 0]
