"""The privacy switch: while anybody asks for it, no text of an exception leaves this process, nor a variable.

An exception's type and the places that it passed stay, and so does what Afterword itself says of a task. The
switch is the process's, since what fails may be an application's, an observer's or ours: one no is enough.
"""

from __future__ import annotations

import weakref
from typing import Final

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
