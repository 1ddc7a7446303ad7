"""How loud an event is: the level of its log line, and of its OpenTelemetry log record."""

from __future__ import annotations

from typing import Final

from ..model import Outcome, RequestInfo

LEVELS: Final = {
    Outcome.SUCCEEDED: "info",
    Outcome.FAILED: "error",
    Outcome.CANCELLED: "warning",
    Outcome.SKIPPED: "warning",
    Outcome.DROPPED: "warning",
    Outcome.ABANDONED: "warning",
}


def request_level(info: RequestInfo) -> str:
    """Return the level of a failed request: a warning, without a traceback, where the client was at fault."""
    return "warning" if info.status is not None and 400 <= info.status < 500 else "error"
