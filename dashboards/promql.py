"""The parts of PromQL that dashboards, recording rules and alerts have in common."""

from __future__ import annotations


def equals(label: str, value: str) -> str:
    """Return a matcher for one value."""
    return f'{label}="{value}"'


def differs(label: str, value: str) -> str:
    """Return a matcher for every other value; with ``""``, for whatever has the label."""
    return f'{label}!="{value}"'


def matches(label: str, pattern: str) -> str:
    """Return a matcher for a regular expression."""
    return f'{label}=~"{pattern}"'


def no_match(label: str, pattern: str) -> str:
    """Return a matcher for whatever does not match a regular expression."""
    return f'{label}!~"{pattern}"'


def one_of(label: str, *values: str) -> str:
    """Return a matcher for some values."""
    return f'{label}=~"{"|".join(values)}"'


def series(metric: str, *matchers: str) -> str:
    """Return the selector of a metric's series."""
    return f"{metric}{{{', '.join(matchers)}}}" if matchers else metric


def total(vector: str, *by: str, function: str = "sum") -> str:
    """Aggregate a vector."""
    return f"{function} by ({', '.join(by)}) ({vector})" if by else f"{function}({vector})"


def share(part: str, whole: str) -> str:
    """Divide; where the whole is nothing there is no share, rather than a division by zero."""
    return f"{part} / ({whole} > 0)"


def at_most(n: int, expression: str) -> str:
    """Return the largest few values above zero."""
    return f"topk({n}, {expression} > 0)"
