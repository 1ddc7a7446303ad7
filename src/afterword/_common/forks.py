"""A forked child starts with an empty account: the runs that its parent had in hand are the parent's to report.

The child is a copy, also of what the parent's threads held. So it forgets the parent's runs and numbers, and no
thread but the forking one may hold a lock of ours at that moment. What the child itself schedules is its own
account. Only ``current()`` stays: what the child does, it does for the run that forked it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock
from typing import Any

# there is no forking on Windows
_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
_of_the_parent: list[Any] = []


def in_child(forget: Callable[[], object]) -> None:
    """Call a function in every child that is forked."""
    if _register is not None:
        _register(after_in_child=forget)


def lock() -> Any:
    """Return a re-entrant lock that nobody else holds when a child is forked: there nobody could release it."""
    made = RLock()
    if _register is not None:
        _register(before=made.acquire, after_in_parent=made.release, after_in_child=made.release)
    return made


def leave_to_parent(*things: Any) -> None:
    """Keep what a child forgets: a destructor of the user's might act on what is the parent's."""
    _of_the_parent.extend(things)
