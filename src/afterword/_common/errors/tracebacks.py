"""Tracebacks: from the user's function on, with a bounded number of frames, and without variables where asked.

The original is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import FrameType, FunctionType, TracebackType
from typing import Final

_MAX_FRAMES: Final = 40
"""Frames of a traceback that are kept, outermost and innermost; a runaway recursion has a thousand."""
_OUTERMOST: Final = 10

# packages between the server and the user's function
_PLUMBING: Final = frozenset(
    {
        "_afterword_pytest",
        __name__.partition(".")[0],  # this package
        "anyio",
        "asyncio",
        "billiard",
        "celery",
        "concurrent",
        "contextlib",
        "ddtrace",
        "elasticapm",
        "fastapi",
        "logfire",
        "newrelic",
        "opentelemetry",
        "sentry_sdk",
        "starlette",
        "wrapt",
    }
)


# a traceback as text: a frame, the heading with all frames, and the installed package that a file belongs to
_WRITTEN_FRAME: Final = re.compile(r'  File "(.*)", line \d+, in .*\n(?:    .*\n)*')
_WRITTEN_FRAMES: Final = re.compile(
    rf"^(Traceback \(most recent call last\):\n)((?:{_WRITTEN_FRAME.pattern})+)", re.M
)
_PACKAGE: Final = re.compile(r".*[\\/](?:site-packages|dist-packages|[Ll]ib(?:[\\/]python3\.\d+)?)[\\/](\w+)")


def innermost(outermost: TracebackType | None) -> TracebackType | None:
    """Return the frame in which the exception was raised."""
    link = outermost
    while link is not None and link.tb_next is not None:
        link = link.tb_next
    return link


def from_user(outermost: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the user's first frame on; unchanged if it has none of the user's."""
    inside = outermost
    while inside is not None and is_plumbing(inside.tb_frame):
        inside = inside.tb_next
    return inside or outermost


def has_few_frames(outermost: TracebackType | None) -> bool:
    """Return whether a traceback has at most ``_MAX_FRAMES`` frames."""
    return len(_links(outermost, _MAX_FRAMES + 1)) <= _MAX_FRAMES


def bounded(outermost: TracebackType | None) -> TracebackType | None:
    """Return a traceback without its middle if it is too long. The original is not changed."""
    if has_few_frames(outermost):
        return outermost
    links = _links(outermost)
    kept = links[_OUTERMOST - _MAX_FRAMES]  # the first of the innermost frames
    for link in reversed(links[:_OUTERMOST]):
        kept = TracebackType(kept, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return kept


def without_values(outermost: TracebackType | None) -> TracebackType | None:
    """Return a traceback of the same places, whose frames have no variables that a renderer could print.

    It may be something like one that has come from another process, as billiard sends it.
    """
    kept: TracebackType | None = None
    for link in reversed(_links(outermost)):
        kept = TracebackType(
            kept, _place_of(link), -1, link.tb_lineno
        )  # -1: no instruction, so no marks in the line
    return kept


def _place_of(link: TracebackType) -> FrameType:
    """Return a frame that says where another one is. It is that of a generator which never begins."""
    there = link.tb_frame.f_code
    code = _nowhere.__code__.replace(
        co_filename=there.co_filename,
        co_name=there.co_name,
        co_qualname=getattr(there, "co_qualname", there.co_name),  # billiard's last one of many has none
        co_firstlineno=getattr(there, "co_firstlineno", 1),
    )
    frame: FrameType = FunctionType(code, {"__name__": link.tb_frame.f_globals.get("__name__")})().gi_frame
    return frame


def _nowhere() -> Iterator[None]:
    yield  # pragma: no cover


def _links(outermost: TracebackType | None, most: int | None = None) -> list[TracebackType]:
    links: list[TracebackType] = []
    link = outermost
    while link is not None and len(links) != most:
        links.append(link)
        link = link.tb_next
    return links


def from_user_written(text: str) -> str:
    """Return a text with each written traceback from the user's first frame on, if it has any of the user's."""
    return _WRITTEN_FRAMES.sub(_from_user_written, text)


def _from_user_written(found: re.Match[str]) -> str:
    for frame in _WRITTEN_FRAME.finditer(found[2]):
        package = _PACKAGE.match(frame[1])
        if package is None or package[1] not in _PLUMBING:
            return found[1] + found[2][frame.start() :]
    return found[0]


def is_plumbing(frame: FrameType) -> bool:
    """Return whether a frame is of a package between the server and the user's function."""
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _PLUMBING
