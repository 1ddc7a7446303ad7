"""The worker threads that sync tasks run in: how many are busy, and how many callers wait for one."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any, NamedTuple

import anyio.to_thread
from anyio import CapacityLimiter

from .._common.forks import in_child

# each limiter with its asyncio event loop, if any: a closed loop has no threads
_limiters: weakref.WeakKeyDictionary[CapacityLimiter, weakref.ref[Any] | None] = weakref.WeakKeyDictionary()

in_child(_limiters.clear)


class WorkerThreads(NamedTuple):
    """The worker threads of this process, summed over its event loops."""

    busy: float
    limit: float
    waiting: float


def note_limiter() -> None:
    """Remember the running event loop's limiter. It is only available here, not during a scrape."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    if limiter not in _limiters:
        loop = asyncio._get_running_loop()
        _limiters[limiter] = weakref.ref(loop) if loop is not None else None


def worker_threads() -> WorkerThreads:
    """Return the use of the worker threads now."""
    busy = limit = waiting = 0.0
    for reference in _limiters.keyrefs():  # built in one step: another thread may add a limiter meanwhile
        limiter = reference()
        if limiter is None:
            continue
        loop_ref = _limiters.get(limiter)
        loop = loop_ref() if loop_ref is not None else None
        if loop_ref is not None and (loop is None or loop.is_closed()):
            continue
        statistics = limiter.statistics()
        busy += statistics.borrowed_tokens
        limit += statistics.total_tokens
        waiting += statistics.tasks_waiting
    return WorkerThreads(busy, limit, waiting)
