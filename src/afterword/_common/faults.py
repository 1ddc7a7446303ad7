"""Internal errors: raised by an observer, a library it uses or our own code, and never passed on to the user.

In a synchronous function nothing can be cancelled or destroyed, so ``CancelledError`` and ``GeneratorExit`` are
errors like any other. Only exceptions that end the process pass. Where we ``await``, ``CancelledError`` and
``GeneratorExit`` are real, and pass too.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

EXITS: Final = (KeyboardInterrupt, SystemExit)
"""Exceptions that end the process. They pass everywhere."""


class contained:
    """Suppresses everything except ``EXITS``, for places where an error cannot be logged either."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Return whether to suppress the exception."""
        return exc is not None and not isinstance(exc, EXITS)
