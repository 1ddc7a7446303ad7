"""What comes out of an observer, of a library beneath it or of a part of ours: told, and held back from the user.

Whatever it is: ``CancelledError`` of a function that nobody can cancel is a fault, and so is ``GeneratorExit`` of
one that is no coroutine. Only what ends the process passes. Where we ``await``, both mean what they say, and pass,
too: somebody cancels, or the coroutine is being destroyed.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

EXITS: Final = (KeyboardInterrupt, SystemExit)
"""What ends the process; these pass everywhere."""


class contained:
    """Lets nothing out but what ends the process: for where a fault cannot be told either."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> bool:
        """Return whether to go on as if nothing had been."""
        return exc is not None and not isinstance(exc, EXITS)
