"""Several worker processes, one account: hooks for their server, and ``python -m afterword.multiprocess``.

With ``PROMETHEUS_MULTIPROC_DIR`` each process counts in its own files in that directory. The process that answers
a scrape adds them up.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from typing import Any

from ._signals.multiprocess.dead_processes import close_account

# no other module imports this one, so that Python can run it
from ._signals.multiprocess.directory import VARIABLE, directory

__all__ = ["child_exit", "clear", "on_starting"]


def on_starting(server: Any = None) -> None:
    """Clear the directory when the server starts. A gunicorn server hook."""
    path = directory()
    if path is not None:
        clear(path)


def child_exit(server: Any, worker: Any) -> None:
    """Close the account of a dead worker. A gunicorn server hook."""
    path = directory()
    if path is not None:
        close_account(path, worker.pid)


def clear(path: str) -> None:
    """Remove the files of an earlier server from a directory. Creates the directory if it is missing."""
    os.makedirs(path, exist_ok=True)
    for file in glob.glob(os.path.join(glob.escape(path), "*.db*")):
        with contextlib.suppress(FileNotFoundError):
            os.remove(file)


if __name__ == "__main__":  # before `uvicorn --workers`
    if directory() is None:
        sys.exit(f"{VARIABLE} is not set")
    on_starting()
