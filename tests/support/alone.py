"""A process in a network of its own, with loopback and nothing else in it: no vendor's agent can call out."""

from __future__ import annotations

import functools
import shutil
import socket
import struct
import subprocess

ALONE = ["unshare", "--net", "--map-root-user"]
"""In front of a command; the process begins with ``loopback_up``."""

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


@functools.cache
def can_be_alone() -> bool:
    """Return whether that is allowed here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


def loopback_up() -> None:
    """Switch loopback on, in a network where nobody has."""
    import fcntl  # not there on every system, where the module is imported all the same

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        flags = struct.unpack("16sh", fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0)))[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))
