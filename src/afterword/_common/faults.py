"""What comes out of an observer, of a library beneath it or of a part of ours: told, and held back from the user.

Whatever it is: ``CancelledError`` of a function that nobody can cancel is a fault, and so is ``GeneratorExit`` of
one that is no coroutine. Only what ends the process passes. Where we ``await``, both mean what they say, and pass,
too: somebody cancels, or the coroutine is being destroyed.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any, Final

_log = logging.getLogger("afterword")

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


def log_fault(message: str, fault: BaseException) -> None:
    """Log a fault of ours or of an observer's; never raises, whatever a log handler does."""
    from .exceptions import exc_info  # which has to do with faults itself

    with contained():
        _log.error("afterword: %s", message, exc_info=exc_info(fault, whole=True))


def warn(message: str, *args: Any) -> None:
    """Log what the user should put right; never raises."""
    with contained():
        _log.warning("afterword: " + message, *args)
