"""What nearly all values of a histogram are at most."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from .._common import semconv

_BOUNDS = (*semconv.BUCKETS, inf)


def p95(counts: Sequence[float]) -> float | None:
    """Return what 95 % of the values in these buckets are at most, as Prometheus reckons it, if there are any."""
    rank, below = 0.95 * sum(counts), 0.0
    for place, count in enumerate(counts):
        if count and below + count >= rank:
            least = _BOUNDS[place - 1] if place else 0.0
            most = _BOUNDS[place]
            return least if most == inf else least + (most - least) * (rank - below) / count
        below += count
    return None
