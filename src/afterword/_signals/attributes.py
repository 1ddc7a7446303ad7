"""OpenTelemetry attributes of an exception and of a run's error."""

from __future__ import annotations

from .._common import semconv
from .._common.exceptions import ExcInfo, stacktrace, text
from .._common.model import TaskRun, full_name


def exception_attributes(told: ExcInfo) -> dict[str, str]:
    """Return OpenTelemetry's ``exception.*`` attributes of an exception that is safe to write."""
    return {
        semconv.EXCEPTION_TYPE: full_name(told[0]),
        semconv.EXCEPTION_MESSAGE: text(told),
        semconv.EXCEPTION_STACKTRACE: stacktrace(told),
    }


def error_type(run: TaskRun) -> str | None:
    """Return the ``error.type`` of a run that did not succeed: its exception, or the reason it never started."""
    told = run.error_type if run.started else run.reason
    return None if told is None else str(told)
