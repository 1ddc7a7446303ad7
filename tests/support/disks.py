"""Real disks for a test: small ones, and such that nobody may write to, root neither."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


def on_a_small_disk(directory: Path, size: str) -> list[str] | None:
    """Return how to run a command with a real disk mounted there for it alone; ``None`` if none may be."""
    mount = f'mount -t tmpfs -o size={size} none "{directory}" && exec "$@"'
    for unshare in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        command = [*unshare, "sh", "-c", mount, "sh"]
        if shutil.which("unshare") is None:
            return None
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


@contextlib.contextmanager
def mounted(directory: Path, options: str) -> Iterator[bool]:
    """Mount a disk of memory there, for all to see; yield whether that was allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(directory)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
