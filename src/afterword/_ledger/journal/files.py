"""Files that are safe to open and to map: regular ones, nobody else's, and with every byte on the disk beforehand.

A write to mapped memory for which the disk has no room kills the process (SIGBUS), and nothing can catch that. So
the room is taken when a file is made, where a full disk is an ``OSError``. Files of others are never mapped, only
read: whoever cuts them could end us in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from collections.abc import Callable
from typing import Final

_BINARY: Final = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# a link may lead anywhere, and opening a named pipe would wait for somebody at its other end
_CAREFUL: Final = _BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CANNOT: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_ZEROS: Final = bytes(1 << 16)


class NotOurs(OSError):
    """What has one of our names is not a file that we made."""


def make_directory(path: str) -> None:
    """Make a directory that only this user can enter, unless it is there; raises ``OSError``."""
    os.makedirs(path, 0o700, exist_ok=True)


def create(path: str, size: int) -> int:
    """Make a file of so many zeros that only this user can read; return its descriptor. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAREFUL, 0o600)
    try:
        allocate(descriptor, 0, size)
    except BaseException:
        os.close(descriptor)
        remove(path)
        raise
    return descriptor


def allocate(descriptor: int, start: int, size: int) -> None:
    """Extend a file, with all its bytes on the disk; raises ``OSError``, and then it is as it was."""
    try:
        if not _reserved(descriptor, start, size):
            for offset in range(start, start + size, len(_ZEROS)):
                _write_at(descriptor, _ZEROS[: start + size - offset], offset)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, start)
        raise


def _reserved(descriptor: int, start: int, size: int) -> bool:
    """Return whether the system has reserved the bytes; not every system can."""
    reserve: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if reserve is None:
        return False
    try:
        reserve(descriptor, start, size)
    except OSError as refused:
        if refused.errno in _CANNOT:
            return False
        raise
    return True


def map_file(descriptor: int, size: int, offset: int = 0) -> mmap.mmap:
    """Return a part of a file as memory; raises ``OSError``."""
    return mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE, offset=offset)


def open_ours(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a file; raises ``NotOurs`` for all but a regular file with one name, or ``OSError``."""
    with contextlib.suppress(FileNotFoundError) if flags & os.O_CREAT else contextlib.nullcontext():
        _check(os.lstat(path), path)  # before it is opened: opening a device may do something
    descriptor = os.open(path, flags | _CAREFUL, 0o600)
    try:
        _check(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotOurs(errno.EINVAL, "not a regular file", path)
    if status.st_nlink > 1:
        raise NotOurs(errno.EINVAL, "a file with another name besides", path)


def read(path: str, size: int | None = None) -> bytes:
    """Return what is in a file, all of it or so much of its beginning; raises ``OSError``."""
    descriptor = open_ours(path)
    try:
        return read_open(descriptor, 0, size)
    finally:
        os.close(descriptor)


def read_open(descriptor: int, start: int = 0, size: int | None = None) -> bytes:
    """Return what is in an open file, all of it or a part; raises ``OSError``."""
    left = os.fstat(descriptor).st_size - start if size is None else size
    parts: list[bytes] = []
    while left > 0:
        part = _read_at(descriptor, left, start)
        if not part:  # it was cut meanwhile
            break
        parts.append(part)
        start, left = start + len(part), left - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all the bytes at a place; raises ``OSError``."""
    _write_at(descriptor, data, offset)


def remove(path: str) -> bool:
    """Remove a file; return whether it was this call that did it."""
    with contextlib.suppress(OSError):
        os.unlink(path)
        return True
    return False


if hasattr(os, "pread"):

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    def _write_at(descriptor: int, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

else:  # Windows; a descriptor is used by one thread at a time

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)

    def _write_at(descriptor: int, data: bytes, offset: int) -> None:
        os.lseek(descriptor, offset, os.SEEK_SET)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
