"""The locked files of this process: its own, and those of the dead whose account it is closing.

Closing *any* descriptor of a file drops the lock that this process has on it. So a file that is held is never
opened a second time here: whoever wants to read it gets the descriptor that is open already.
"""

from __future__ import annotations

import os

from ..._common import forks
from . import files, locking
from .layout import HEAD_SIZE

_lock = forks.lock()
_held: dict[str, int] = {}
"""The descriptors of locked files, by the id of their process."""
_claimed: set[str] = set()
"""Those of them that belong to the dead."""


def publish(hidden: str, final: str, process: str, size: int, head: bytes) -> int:
    """Make a file that is complete and locked when it appears; return its descriptor. Raises ``OSError``."""
    path = hidden if locking.HIDDEN_FIRST else final
    with _lock:
        descriptor = files.create(path, size)
        try:
            if not locking.try_lock(descriptor):
                raise OSError(f"{path} was locked by another process")
            files.write_at(descriptor, head, 0)
            _held[process] = descriptor  # before it can be seen
            if path != final:
                os.rename(path, final)
        except BaseException:
            _held.pop(process, None)
            os.close(descriptor)
            files.remove(path)
            raise
    return descriptor


def claim(path: str, process: str) -> int | None:
    """Lock the file of a dead process; ``None`` if it lives or another claims it, or did. Raises ``OSError``."""
    with _lock:
        if process in _held:
            return None
        descriptor = files.open_ours(path, os.O_RDWR)
        try:
            # without a name, another process has just closed this account
            if locking.try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                _held[process] = descriptor
                _claimed.add(process)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


def release(process: str) -> None:
    """Let go of a file: its lock is free."""
    with _lock:
        descriptor = _held.pop(process, None)
        _claimed.discard(process)
        if descriptor is not None:
            os.close(descriptor)


def remove(path: str, process: str) -> None:
    """Remove a file that is held, and let go of it."""
    if locking.HIDDEN_FIRST:
        files.remove(path)  # while it is locked, so that whoever gets the lock sees that it has no name any more
        release(process)
    else:
        release(process)
        files.remove(path)


def still_locked(descriptor: int) -> bool:
    """Return whether a file is locked, after locking it anew if it has to be; raises ``OSError``."""
    return locking.try_lock(descriptor)


def look(path: str, process: str, times: int) -> tuple[list[bytes], bool | None]:
    """Read a file so many times; return what was read, and whether its process lives (``None``: nobody knows).

    Raises ``OSError``.
    """
    with _lock:
        held = _held.get(process)
        if held is not None:
            return [files.read_open(held) for _ in range(times)], process not in _claimed
        descriptor = files.open_ours(path)
        try:
            return [files.read_open(descriptor) for _ in range(times)], locking.is_locked(descriptor)
        finally:
            os.close(descriptor)


def head(path: str, process: str) -> bytes:
    """Read the beginning of a file, whoever holds it; raises ``OSError``."""
    with _lock:
        held = _held.get(process)
        if held is not None:
            return files.read_open(held, 0, HEAD_SIZE)
        descriptor = files.open_ours(path)
        try:
            return files.read_open(descriptor, 0, HEAD_SIZE)
        finally:
            os.close(descriptor)


def _forget() -> None:
    """In a forked child, let go of the parent's files; their locks are the parent's and stay."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()
    _claimed.clear()


forks.in_child(_forget)
