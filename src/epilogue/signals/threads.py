"""The worker threads that sync tasks run in: how many are busy, how many callers wait for one."""

from __future__ import annotations

import weakref
from typing import NamedTuple

import anyio.to_thread
from anyio import CapacityLimiter

_limiters: weakref.WeakSet[CapacityLimiter] = weakref.WeakSet()


class WorkerThreads(NamedTuple):
    """The worker threads of this process, summed over its event loops."""

    busy: float
    limit: float
    waiting: float


def note_limiter() -> None:
    """Remember the running event loop's limiter: it can only be asked for there, a scrape is elsewhere."""
    _limiters.add(anyio.to_thread.current_default_thread_limiter())


def worker_threads() -> WorkerThreads:
    """Return the use of the worker threads now."""
    busy = limit = waiting = 0.0
    for limiter in list(_limiters):
        statistics = limiter.statistics()
        busy += statistics.borrowed_tokens
        limit += statistics.total_tokens
        waiting += statistics.tasks_waiting
    return WorkerThreads(busy, limit, waiting)
