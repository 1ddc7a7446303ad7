"""The median of some values, and what nearly all of them are at most."""

from __future__ import annotations


def quantiles(values: list[float]) -> dict[str, float]:
    """Return ``p50``, the median, and ``p95``, what 95 % are at most; nothing without values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {f"p{percent}": round(ordered[_place(len(ordered), percent)], 6) for percent in (50, 95)}


def _place(count: int, percent: int) -> int:
    """Return the place of the least value that so many per cent do not exceed."""
    return max(0, -(-count * percent // 100) - 1)
