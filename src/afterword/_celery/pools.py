"""Pools without processes of their own: an exception that leaves one of their threads is nobody's, and no end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Tell = Callable[[BaseException], object]


def on_error(result: Any, tell: Tell) -> None:
    """Call ``tell`` with an exception that leaves the thread or the greenlet of what a pool was given."""
    future = getattr(result, "f", None)  # of the pool of threads
    if isinstance(future, Future):
        future.add_done_callback(lambda future: _look(future, tell))
    elif hasattr(result, "link_exception"):  # a greenlet
        result.link_exception(lambda greenlet: tell(greenlet.exception))


def _look(future: Future[Any], tell: Tell) -> None:
    exc = None if future.cancelled() else future.exception()
    if exc is not None:
        tell(exc)
