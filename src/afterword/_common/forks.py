"""A forked child starts with an empty account. Its parent reports the runs that were open at the fork.

The child is a copy of the parent, including anything the parent's other threads held. So the child forgets the
parent's runs and numbers, and only the forking thread may hold one of our locks during the fork. The child counts
what it schedules itself. Only ``current()`` is kept: the child works for the run that forked it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock
from typing import Any

# Windows cannot fork
_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
_of_the_parent: list[Any] = []


def in_child(forget: Callable[[], object]) -> None:
    """Call a function in every forked child."""
    if _register is not None:
        _register(after_in_child=forget)


def lock() -> Any:
    """Return a re-entrant lock that no other thread holds during a fork; the child could never release it."""
    made = RLock()
    if _register is not None:
        _register(before=made.acquire, after_in_parent=made.release, after_in_child=made.release)
    return made


def leave_to_parent(*things: Any) -> None:
    """Keep alive what a child forgets, so that no user destructor acts on objects of the parent."""
    _of_the_parent.extend(things)
