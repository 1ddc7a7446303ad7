"""Tracebacks that start at the user's function and have a bounded number of frames."""

from __future__ import annotations

from types import TracebackType
from typing import Final

MAX_FRAMES: Final = 40
"""Frames of a traceback that are kept, outermost and innermost; a runaway recursion has a thousand."""
_OUTERMOST: Final = 10

# packages between the server and the user's function
_PLUMBING: Final = frozenset(
    {
        "_afterword_pytest",
        __name__.partition(".")[0],  # this package
        "anyio",
        "asyncio",
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


def from_user(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the user's first frame on; unchanged if it has none of the user's."""
    inside = traceback
    while inside is not None and _is_plumbing(inside):
        inside = inside.tb_next
    return inside or traceback


def are_few(traceback: TracebackType | None) -> bool:
    """Return whether a traceback has at most ``MAX_FRAMES`` frames."""
    return len(_links(traceback, MAX_FRAMES + 1)) <= MAX_FRAMES


def bounded(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without its middle if it is too long. The original is not changed."""
    if are_few(traceback):
        return traceback
    links = _links(traceback)
    kept = links[_OUTERMOST - MAX_FRAMES]  # the first of the innermost frames
    for link in reversed(links[:_OUTERMOST]):
        kept = TracebackType(kept, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return kept


def innermost(traceback: TracebackType | None) -> TracebackType | None:
    """Return the frame in which the exception was raised."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback


def _links(traceback: TracebackType | None, most: int | None = None) -> list[TracebackType]:
    links: list[TracebackType] = []
    while traceback is not None and len(links) != most:
        links.append(traceback)
        traceback = traceback.tb_next
    return links


def _is_plumbing(link: TracebackType) -> bool:
    module = str(link.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] in _PLUMBING
