"""OpenTelemetry attributes of an exception."""

from __future__ import annotations

from .._common import semconv
from .._common.errors.exceptions import ExcInfo, stacktrace, text
from .._common.model import full_name


def exception_attributes(told: ExcInfo) -> dict[str, str]:
    """Return OpenTelemetry's ``exception.*`` attributes of what may be told of an exception."""
    return {
        semconv.EXCEPTION_TYPE: full_name(told[0]),
        semconv.EXCEPTION_MESSAGE: text(told),
        semconv.EXCEPTION_STACKTRACE: stacktrace(told),
    }
