"""The level of an event's log line and OpenTelemetry log record."""

from __future__ import annotations

from typing import Final

from .._common.model import Outcome, Reason, RequestInfo, TaskRun
from .._common.variables import read

LEVELS: Final = {
    Outcome.SUCCEEDED: "info",
    Outcome.FAILED: "error",
    Outcome.CANCELLED: "warning",
    Outcome.SKIPPED: "warning",
    Outcome.DROPPED: "warning",
    Outcome.ABANDONED: "warning",
}
_VARIABLE: Final = "AFTERWORD_CLIENT_ERROR_LEVEL"
_LOUDNESS: Final = ("debug", "info", "warning", "error")


def client_error_level() -> str:
    """Return the level of a 4xx that dropped no task: ``AFTERWORD_CLIENT_ERROR_LEVEL``, or ``debug``."""
    return read(_VARIABLE, _LOUDNESS[0], _level, f"one of {', '.join(_LOUDNESS)}")


def _level(value: str) -> str:
    level = value.lower()
    if level not in _LOUDNESS:
        raise ValueError
    return level


def returned_level(run: TaskRun) -> str:
    """Return the level of an attempt that did not end its task: one that ran beside another is worth a warning."""
    return "warning" if run.reason is Reason.TAKEN_AWAY else "info"


def answered_level(info: RequestInfo) -> str:
    """Return the level of an error that was answered with a 2xx: somebody meant that; not that it drops a task."""
    return "warning" if info.dropped else "info"


def request_level(info: RequestInfo, client_errors: str) -> str:
    """Return the level of a failed request; ``client_errors`` is the lowest level for a 4xx.

    Any client can cause a thousand 4xx a second, and a scanner those of paths that nobody serves, which are never
    louder than ``debug``. One that dropped a task is worth a warning.
    """
    if not info.client_error:
        return "error"
    least = _LOUDNESS[0] if info.route is None else client_errors
    return max(least, "warning" if info.dropped else "debug", key=_LOUDNESS.index)
