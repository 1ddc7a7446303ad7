"""A task that takes longer than it should: told once, while it runs, with where it stands.

Its function says from when on (``@task(slow_after=...)``). Nobody looks if none does, and no run pays for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from math import inf
from time import perf_counter
from types import FrameType
from typing import Any, Final

from ..._common import semconv
from ..._common.model import TaskRun
from ..._common.task_names import code_name, slow_after
from ..logs import identity
from ..loop.places import place
from ..tellers import Happening, Teller, tell

Frames = Callable[[Collection[TaskRun]], Mapping[TaskRun, Sequence[FrameType]] | None]
"""Returns where running tasks stand, from each one's function inwards, as far as that is known; no frames for one
that waits for a thread. Each engine knows its own."""

_told: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""The runs that have been told, while anybody holds them."""

_MOST: Final = 10
"""Runs that are told in one look; the next looks tell the others."""
_WAITS: Final = "it waits for a worker thread, and its function has not begun; find who holds the threads"
_STANDS: Final = "it still runs, and this is where it stands; give what it waits for there a timeout of its own"
_UNKNOWN: Final = "it still runs"


def look(running: Callable[[], Iterable[TaskRun]], frames_of: Frames, tellers: Sequence[Teller]) -> None:
    """Tell of each run that has been running for longer than its function allows, unless that was told."""
    after = slow_after()
    if not after:
        return
    now = perf_counter()
    slow = (run for run in running() if now - run._started_tick > after.get(run.function, inf))
    runs = list(islice((run for run in slow if run not in _told), _MOST))
    if not runs:
        return
    found = frames_of(runs) or {}
    for run in runs:
        _told.add(run)
        age = {semconv.KEY_AGE: round(now - run._started_tick, 3)}
        keys = identity(run) | age | _stand(run, found.get(run))
        tell(tellers, Happening("warning", semconv.EVENT_SLOW, keys, run))


def _stand(run: TaskRun, frames: Sequence[FrameType] | None) -> dict[str, Any]:
    stands = place(frames, of=code_name(run.function)) if frames else None
    if stands is not None:
        return {semconv.KEY_PLACE: stands, semconv.KEY_DETAIL: _STANDS}
    return {semconv.KEY_DETAIL: _UNKNOWN if frames is None or frames else _WAITS}
