"""Several worker processes, one account: ``PROMETHEUS_MULTIPROC_DIR``.

Each process counts in memory-mapped files of its own, and whichever answers a scrape adds them up. The files of
a process outlive it. Its counters stay; its gauges, which say what it was doing, are taken away, and what they say
it still held is counted as lost: that closes the dead process's account.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from . import names
from .emit import emit
from .signals.prometheus import series_of

__all__ = ["child_exit", "clear", "on_starting"]

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_LIVE_FILE = re.compile(r"gauge_live[a-z]+_(\d+)\.db$")


def directory() -> str | None:
    """Return the directory of the workers' files; ``None`` with a single process."""
    return os.environ.get(_VARIABLE) or None


def complaint(path: str | None) -> str | None:
    """Return what is wrong with a directory that is to hold the workers' files, if anything is."""
    if path is None:
        return None
    if not os.path.isdir(path):
        return f"{_VARIABLE}={path} is not a directory; create it before the server starts"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"{_VARIABLE}={path} cannot be written to"
    return None


def on_starting(server: Any = None) -> None:
    """Clear the directory when the server starts; a gunicorn server hook."""
    path = directory()
    if path is not None:
        clear(path)


def child_exit(server: Any, worker: Any) -> None:
    """Close the account of a worker that is gone; a gunicorn server hook."""
    path = directory()
    if path is not None:
        close_account(path, worker.pid, REGISTRY)


def clear(path: str) -> None:
    """Remove the files of an earlier server from a directory, which is made if it is missing."""
    os.makedirs(path, exist_ok=True)
    for file in glob.glob(os.path.join(glob.escape(path), "*.db*")):
        with contextlib.suppress(FileNotFoundError):
            os.remove(file)


def close_dead_accounts(path: str, registry: CollectorRegistry) -> None:
    """Close the accounts of all processes that are gone, for servers that have no hook for it."""
    pids = {int(found[1]) for file in os.listdir(path) if (found := _LIVE_FILE.search(file))}
    for pid in pids:
        if not _is_alive(pid):
            close_account(path, pid, registry)


def close_account(path: str, pid: int, registry: CollectorRegistry) -> None:
    """Take a dead process's gauges away, and count what it still held as lost; once, whoever comes first."""
    file = f"gauge_livesum_{pid}.db"
    with tempfile.TemporaryDirectory(dir=path, prefix="closing-") as closing:
        try:
            os.rename(os.path.join(path, file), os.path.join(closing, file))
        except FileNotFoundError:  # another process is closing it
            lost = Counter[str]()
        else:
            lost = _held(os.path.join(closing, file))
    for name, count in sorted(lost.items()):
        series_of(registry).count_lost(name, count)
        detail = f"process {pid} died with them; a task that must survive that belongs in a queue"
        emit("warning", names.EVENT_LOST, {names.KEY_TASK: name, names.KEY_COUNT: count, names.KEY_DETAIL: detail})
    with contextlib.suppress(FileNotFoundError):  # another process removes the same files just now
        mark_process_dead(pid, path)


def _held(file: str) -> Counter[str]:
    """Return how many runs of each task a process held when it died."""
    held: Counter[str] = Counter()
    for metric in MultiProcessCollector.merge([file]):
        if metric.name in (names.PENDING.prometheus, names.RUNNING.prometheus):
            for sample in metric.samples:
                held[sample.labels[names.PENDING.labels[0]]] += int(sample.value)
    return +held


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        return True
    return True


class Everybody:
    """A registry for one scrape: the files of all processes, perhaps only some names of them."""

    def __init__(self, path: str, wanted: Iterable[str] = ()) -> None:
        self._collector = MultiProcessCollector(None, path)
        self._wanted = set(wanted)

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics, as a registry does."""
        for metric in self._collector.collect():
            if self._wanted:
                metric.samples = [sample for sample in metric.samples if sample.name in self._wanted]
            if metric.samples:
                yield metric


if __name__ == "__main__":  # python -m afterword.multiprocess, before `uvicorn --workers`
    if directory() is None:
        sys.exit(f"{_VARIABLE} is not set")
    on_starting()
