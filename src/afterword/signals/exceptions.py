"""What may be told of an exception: all of it, but not the input that a validation error quotes."""

from __future__ import annotations

import traceback
from typing import Any, Final

from .. import names
from ..model import TaskRun, full_name

MAX_PLACES: Final = 20
"""Places of a validation error that are told; a request body may have any number of them."""


class _WithoutInput(Exception):
    """Stands in for a validation error, whose own text quotes the input."""


def exc_info(exc: BaseException, places: list[str] | None = None) -> tuple[Any, Any, Any]:
    """Return type, exception and traceback for a log line; with places, those instead of the exception's text."""
    if places is None:
        try:
            str(exc)
        except Exception:  # noqa: BLE001  an exception whose text cannot be had still has a traceback
            places = ["its text cannot be had"]
        else:
            return type(exc), exc, exc.__traceback__
    return type(exc), _WithoutInput("; ".join(places[:MAX_PLACES])), exc.__traceback__


def exception_attributes(exc: BaseException) -> dict[str, str]:
    """Return OpenTelemetry's ``exception.*`` attributes."""
    kind, value, frames = exc_info(exc, validation_places(exc))
    return {
        names.EXCEPTION_TYPE: full_name(kind),
        names.EXCEPTION_MESSAGE: str(value),
        names.EXCEPTION_STACKTRACE: "".join(traceback.format_exception(kind, value, frames)),
    }


def error_type(run: TaskRun) -> str | None:
    """Return ``error.type`` of a run that did not succeed: its error, or why it never began."""
    told = run.error_type if run.started else run.reason
    return None if told is None else str(told)


def validation_places(exc: BaseException) -> list[str] | None:
    """Return where a validation error found something wrong; never the input."""
    errors = getattr(exc, "errors", None)
    if not callable(errors) or not type(exc).__name__.endswith("ValidationError"):
        return None
    try:
        return [f"{'.'.join(map(str, error['loc']))}: {error['type']}" for error in errors()]
    except Exception:  # noqa: BLE001  somebody else's ValidationError
        return None
