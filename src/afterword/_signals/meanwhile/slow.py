"""A task that takes longer than it should: told once, while it runs, with where it stands.

Its function says from when on (``@task(slow_after=...)``). Nobody looks if none does, and no run pays for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from types import FrameType
from typing import Any, Final

from ..._common import semconv
from ..._common.log import emit
from ..._common.model import TaskRun
from ..._common.task_names import slow_after
from ..logs import identity
from ..loop.places import place

Frames = Callable[[TaskRun], Sequence[FrameType] | None]
"""Returns where a running task stands, from its function inwards; nothing if it waits for a thread, and ``None``
if that is not known. Each engine knows its own."""

_told: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""The runs that have been told, while anybody holds them."""

_WAITS: Final = "it waits for a worker thread, and its function has not begun; find who holds the threads"
_STANDS: Final = "it still runs, and this is where it stands; give what it waits for there a timeout of its own"
_UNKNOWN: Final = "it still runs"


def look(running: Callable[[], Iterable[TaskRun]], frames_of: Frames) -> None:
    """Tell of each run that has been running for longer than its function allows, unless that was told."""
    after = slow_after()
    if not after:
        return
    now = perf_counter()
    for run in running():
        seconds = after.get(run.function)
        if seconds is not None and now - run._started_tick > seconds and run not in _told:
            _told.add(run)
            emit("warning", semconv.EVENT_SLOW, _keys(run, now - run._started_tick, frames_of(run)))


def _keys(run: TaskRun, age: float, frames: Sequence[FrameType] | None) -> dict[str, Any]:
    stands = place(frames, of=run.function) if frames else None
    keys = identity(run) | {semconv.KEY_AGE: round(age, 3)}
    if stands is not None:
        keys[semconv.KEY_PLACE] = stands
    keys[semconv.KEY_DETAIL] = _WAITS if frames == [] else _UNKNOWN if stands is None else _STANDS
    return keys
