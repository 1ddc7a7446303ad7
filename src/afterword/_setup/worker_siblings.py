"""Detects several workers that would each answer a scrape with their own numbers."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from types import FrameType
from typing import Any

from .._common import semconv
from .._common.faults import contained
from .._common.log import emit, once
from .._signals.multiprocess import directory as workers


def warn_of_siblings() -> None:
    """Warn once per process that its numbers exclude the other workers, and say what to do about it."""
    with contained():
        if workers.several_processes():
            return
        detail = _remedy()
        if detail is not None and once.first("siblings"):
            emit("warning", semconv.EVENT_METRICS, {semconv.KEY_DETAIL: detail})


def _remedy() -> str | None:
    variable = workers.VARIABLE
    if workers.directory() is not None:
        return (
            f"{variable} was set after prometheus_client was imported, so this process counts only its own tasks; "
            "set it before the server starts"
        )
    server = _server_of_several()
    if server is None:
        return None
    return (
        f"this process is one of several workers of {server}, and each of them answers a scrape with its own "
        f"numbers only; to add them up, set {variable} to an existing directory before the server starts (or pass "
        "metrics_path=None if nobody scrapes)"
    )


def _server_of_several() -> str | None:
    """Return the server that runs several workers, if this process is one of them or about to fork them.

    A server that reloads also starts a process, but only one.
    """
    # uvicorn and hypercorn pass their configuration to a multiprocessing process
    config: Any = getattr(multiprocessing.current_process(), "_kwargs", {}).get("config")
    server = type(config).__module__.partition(".")[0]
    if server in ("uvicorn", "hypercorn"):
        reloads = getattr(config, "reload", False) or getattr(config, "use_reloader", False)
        return server if _count(config) > 1 and not reloads else None
    if "gunicorn.arbiter" in sys.modules:
        # the arbiter forks workers from its own stack
        frame: FrameType | None = sys._current_frames().get(threading.main_thread().ident or 0)
        while frame is not None:
            arbiter = frame.f_locals.get("self") if frame.f_globals.get("__name__") == "gunicorn.arbiter" else None
            if _count(getattr(arbiter, "cfg", None)) > 1:
                return "gunicorn"
            frame = frame.f_back
    return None


def _count(config: Any) -> int:
    count = getattr(config, "workers", 1)
    return count if isinstance(count, int) else 1
