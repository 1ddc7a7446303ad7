"""What may be told of an exception: all of it, but not the input that a validation error quotes."""

from __future__ import annotations

from typing import Any

_MAX_PLACES = 20


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
    return type(exc), _WithoutInput("; ".join(places[:_MAX_PLACES])), exc.__traceback__


def validation_places(exc: BaseException) -> list[str] | None:
    """Return where a validation error found something wrong; never the input."""
    errors = getattr(exc, "errors", None)
    if not callable(errors) or not type(exc).__name__.endswith("ValidationError"):
        return None
    try:
        return [f"{'.'.join(map(str, error['loc']))}: {error['type']}" for error in errors()]
    except Exception:  # noqa: BLE001  somebody else's ValidationError
        return None
