"""What fails in the matrix through no fault of Afterword, and why."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A failure that is expected."""

    aspects: frozenset[str]
    """What may be wrong; anything else that is wrong in the same act still counts."""
    reason: str


_DATADOG = Known(
    frozenset({"behaviour", "peer"}),
    "ddtrace's `unpatch` (internal; it has no public one) takes a patch out only where it lies on top. Ours lies "
    "on top of its patch of `add_task`, so that one stays, with what it does to callable objects (below). Take "
    "Afterword out first.",
)
KNOWN: dict[tuple[str, str], Known] = {
    ("datadog-early", "peer removed"): _DATADOG,
    ("datadog-early", "peer removed, then ours"): _DATADOG,
}
"""By cell and act."""
