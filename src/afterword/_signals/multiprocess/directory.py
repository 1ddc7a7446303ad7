"""The directory in which several worker processes count, and checks of it."""

from __future__ import annotations

import os
from typing import Final

from prometheus_client import values

from ..._common import semconv
from ..._common.log import emit, once

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def directory() -> str | None:
    """Return the directory of the workers' files; ``None`` with a single process."""
    return os.environ.get(VARIABLE) or None


def several_processes() -> bool:
    """Return whether prometheus_client counts in files, for several processes (``PROMETHEUS_MULTIPROC_DIR``)."""
    return bool(getattr(values.ValueClass, "_multiprocess", False)) and directory() is not None


def problem_with(path: str | None) -> str | None:
    """Return what is wrong with a directory for the workers' files; ``None`` if it is usable."""
    if path is None:
        return None
    if os.name == "nt":  # checking whether a process is alive would interrupt it
        return f"{VARIABLE} is set, but several workers are not supported on Windows"
    if not os.path.isdir(path):
        return f"{VARIABLE}={path} is not a directory; create it before the server starts"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"{VARIABLE}={path} is not writable"
    return None


def log_once(detail: str) -> None:
    """Log once per process what is wrong with the workers' files."""
    if once.first("multiprocess", detail):
        emit("error", semconv.EVENT_METRICS, {semconv.KEY_DETAIL: detail})
