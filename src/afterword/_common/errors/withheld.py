"""The privacy switch: while anybody asks for it, no text of an exception leaves this process, nor a variable.

An exception's type and the places that it passed stay, and so does what Afterword itself says of a task. The
switch is the process's, since what fails may be an application's, an observer's or ours: one no is enough.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any, Final

from opentelemetry.trace import Status, StatusCode

WITHHELD: Final = "its text is withheld"

_askers: weakref.WeakSet[object] = weakref.WeakSet()


def withhold(asker: object) -> None:
    """Withhold the texts of exceptions for as long as somebody lives who asked for it."""
    _askers.add(asker)


def are_texts_withheld() -> bool:
    """Return whether somebody has asked for it."""
    return bool(_askers)


def as_it_may_be_read(error: str | None, traceback: str | None) -> tuple[str | None, str | None]:
    """Return as much as is allowed of a text and a traceback that were written down, perhaps before it was set."""
    if not _askers or error is None or error == WITHHELD:
        return error, traceback
    return WITHHELD, None


def keep_out_of(span: Any, *attributes: str) -> None:
    """Keep others from writing an exception's text on their span: as event or status, or in these attributes."""

    def ignore(*args: Any, **kwargs: Any) -> None:
        pass

    def set_status(status: Status | StatusCode, description: str | None = None) -> None:
        original(status.status_code if isinstance(status, Status) else status)

    def set_attribute(key: str, value: Any) -> None:
        set_original(key, WITHHELD if key in attributes else value)

    if span.is_recording():
        with contextlib.suppress(AttributeError):  # a span of another SDK
            original, set_original = span.set_status, span.set_attribute
            span.record_exception, span.set_status = ignore, set_status
            if attributes:
                span.set_attribute = set_attribute
