"""Where code stands: the functions that are being called, with their lines and without any value."""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Final

from ..._common.errors.tracebacks import is_plumbing
from ..._common.text import clean_name

_MOST: Final = 5
"""Functions that are named: the innermost ones, and that of the task."""


def function_of(frame: FrameType) -> str:
    """Return the full name of a frame's function."""
    return f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"


def place_raised(traceback: TracebackType | None) -> str | None:
    """Return where an exception was raised, as far as it is the user's code; ``None`` if that is not known."""
    lines: list[tuple[FrameType, int]] = []
    while traceback is not None:
        lines.append((traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _told([(frame, line) for frame, line in lines if not is_plumbing(frame)][-_MOST:])


def place(frames: Sequence[FrameType], *, of: str | None = None) -> str | None:
    """Return where these frames stand, outermost first; ``None`` if none is worth telling.

    Left out is what lies between the server and the user's function, but not the function ``of`` a task, which
    they begin with.
    """
    shown = [frame for frame in frames if not is_plumbing(frame) or function_of(frame) == of]
    kept = shown[-_MOST:] if of is None or len(shown) <= _MOST else [shown[0], *shown[1 - _MOST :]]
    return _told([(frame, frame.f_lineno) for frame in kept])


def _told(lines: Sequence[tuple[FrameType, int | None]]) -> str | None:
    return " > ".join(f"{clean_name(function_of(frame))}:{line}" for frame, line in lines) or None
