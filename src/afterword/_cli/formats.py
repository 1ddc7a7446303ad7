"""How values look: for a person in local time and with a unit; for a program as lines of JSON.

Every text comes from a file or a server, where anything may stand: here it is made safe for a terminal.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from .._common.text import MAX_NAME, clean
from .._ledger.journal.records import Record

_SHORT: Final = 12
_MAX_LINES: Final = 40_000


def one_line(text: str | None, limit: int = MAX_NAME) -> str:
    """Return a text as one line that is safe for a terminal and not too long."""
    return clean((text or "").replace("\t", " ").replace("\n", r"\n"), limit)


def whole(text: str | None) -> str:
    """Return a text as it is, with all its lines, as far as it is safe for a terminal."""
    return clean(text or "", _MAX_LINES)


def short(run: str) -> str:
    """Return the beginning of an id: enough to find it again."""
    return one_line(run[:_SHORT])


def request_of(record: Record) -> str:
    """Return the method and the route of a run's request."""
    return one_line(" ".join(filter(None, (record.method, record.route))))


def moment(seconds: float | None) -> str:
    """Return a point in time, in local time and to the second."""
    return _date(seconds, lambda at: at.astimezone().strftime("%Y-%m-%d %H:%M:%S"))


def precise(seconds: float | None) -> str:
    """Return a point in time, in local time, to the millisecond and with its offset."""
    return _date(seconds, lambda at: at.astimezone().isoformat(" ", "milliseconds"))


def _date(seconds: float | None, write: Any) -> str:
    if seconds is None:
        return ""
    try:
        return str(write(datetime.fromtimestamp(seconds, UTC)))
    except (ValueError, OverflowError, OSError):  # no date of the calendar
        return "?"


def span(seconds: float | None) -> str:
    """Return a length of time with the unit that suits it."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def as_json(keys: dict[str, Any]) -> str:
    """Return keys and values as one line of JSON, in ASCII, without those that are not known."""
    return json.dumps({key: value for key, value in keys.items() if value is not None})
