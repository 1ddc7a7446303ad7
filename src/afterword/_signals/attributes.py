"""What OpenTelemetry's signals say of an exception, and of a run's error."""

from __future__ import annotations

from .._common import semconv
from .._common.exceptions import ExcInfo, stacktrace, text
from .._common.model import TaskRun, full_name


def exception_attributes(told: ExcInfo) -> dict[str, str]:
    """Return OpenTelemetry's ``exception.*`` attributes of what may be told of an exception."""
    return {
        semconv.EXCEPTION_TYPE: full_name(told[0]),
        semconv.EXCEPTION_MESSAGE: text(told),
        semconv.EXCEPTION_STACKTRACE: stacktrace(told),
    }


def error_type(run: TaskRun) -> str | None:
    """Return ``error.type`` of a run that did not succeed: its error, or why it never began."""
    told = run.error_type if run.started else run.reason
    return None if told is None else str(told)
