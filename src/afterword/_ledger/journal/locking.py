"""A lock on a file that goes with the process that holds it, and with nothing else.

``lockf`` and not ``flock``, which a forked child would keep for its dead parent.
"""

from __future__ import annotations

import contextlib
import os
import platform
import struct
import sys
from typing import Any, Final

MACHINE_SIZE: Final = 40  # bytes for it in a head

HIDDEN_FIRST: Final = os.name != "nt"
"""Whether an open file can be given another name. On Windows it cannot."""

if sys.platform == "win32":
    import msvcrt

    _FAR: Final = 0x7FFF_0000  # nobody can read a byte that is locked, so it is one that is not there

    def try_lock(descriptor: int) -> bool:
        """Lock an open file; return whether this process has the lock. Raises ``OSError`` for no open file."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        with contextlib.suppress(PermissionError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        return False

    def is_locked(descriptor: int) -> bool | None:
        """Return whether another process has locked a file; ``None`` if that cannot be asked."""
        return None

else:
    import fcntl

    # struct flock: type, whence, start, length, pid; elsewhere start, length, pid, type, whence
    _LINUX: Final = struct.Struct("hhqqi4x")
    _OTHERS: Final = struct.Struct("qqihh")

    def try_lock(descriptor: int) -> bool:
        """Lock an open file; return whether this process has the lock. Raises ``OSError`` for no open file."""
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def is_locked(descriptor: int) -> bool | None:
        """Return whether another process has locked a file; ``None`` if that cannot be asked."""
        linux = sys.platform.startswith("linux")
        if not linux and sys.platform != "darwin":
            return None
        layout, lock = (_LINUX, 0) if linux else (_OTHERS, 3)
        question: list[Any] = [0] * 5
        question[lock] = fcntl.F_RDLCK  # allowed on a file that was opened to be read
        with contextlib.suppress(OSError):
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, layout.pack(*question))
            return bool(layout.unpack(answer)[lock] != fcntl.F_UNLCK)
        return None


def _machine() -> str:
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()[:MACHINE_SIZE]
    return platform.node().encode("ascii", "replace").decode()[:MACHINE_SIZE]


MACHINE: Final = _machine()
"""Where locks are seen: this machine. The same in all its containers; another one after a boot, if Linux tells."""
