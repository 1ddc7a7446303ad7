"""Who holds an event loop up: a thread looks where it stands, while it does not come back to its timer."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol

from ..._common import forks, semconv
from ..._common.faults import contained
from ..._common.model import TaskRun
from ..._common.own_thread import started_thread
from ..._common.task_names import code_name
from ..tellers import Happening, Teller, tell
from .places import function_of, place

BLOCKED: Final = 1.0
"""Seconds from which a loop that was held up is told."""
_LOOK_SECONDS: Final = 0.5
_LOOK_AFTER: Final = 0.4
"""So much overdue, it is looked where the loop stands."""
_TELL_SECONDS: Final = 60.0
_MOST_SEEN: Final = 100

Running = Callable[[], Iterable[TaskRun]]
"""Returns the runs of this process that are running; the ledger knows."""

_MEANWHILE: Final = "nothing else in this process could go on meanwhile"
_TASK: Final = f"{_MEANWHILE}; make the task a plain def, or await its slow call with asyncio.to_thread"
_NO_TASK: Final = (
    f"{_MEANWHILE}; no background task was found in it, but an endpoint, a middleware or another coroutine: "
    "await what is slow there with asyncio.to_thread"
)


class Held(NamedTuple):
    """Where a loop stood."""

    place: str
    """The functions that were being called, from that of the task inwards."""
    run: TaskRun | None
    """The run that held it up, if a task did."""


class Watched(Protocol):
    """A loop that is looked after."""

    thread: int

    def overdue(self) -> float:
        """Return for how long the loop has been held up by now, in seconds."""
        ...

    def is_over(self) -> bool:
        """Return whether the loop is closed: its timer will not come back."""
        ...


class Blockages:
    """What was seen of one loop while it was held up."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._seen: Counter[Held] = Counter()
        self._longest: tuple[float, Held | None] | None = None

    def look(self, loop: Watched) -> None:
        """Note where the loop stands."""
        if loop.overdue() > _LOOK_AFTER:
            held = held_by(sys._current_frames().get(loop.thread), self._running())
            if held is not None and (held in self._seen or len(self._seen) < _MOST_SEEN):
                self._seen[held] += 1

    def over(self, lag: float, tellers: Collection[Teller]) -> Held | None:
        """Return who held the loop up. Tell of it, once a minute at most, of the longest time of several."""
        seen = self._seen
        if seen:
            self._seen = Counter()
        held = seen.most_common(1)[0][0] if seen else None
        if lag >= BLOCKED and (self._longest is None or lag > self._longest[0]):
            self._longest = lag, held
        if self._longest is not None and (not tellers or _thread.may_tell()):
            longest, self._longest = self._longest, None
            if tellers:
                run = None if longest[1] is None else longest[1].run
                tell(tellers, Happening("warning", semconv.EVENT_BLOCKED, _keys(*longest), run))
        return held


def _keys(lag: float, held: Held | None) -> dict[str, Any]:
    run = held.run if held is not None else None
    keys: dict[str, Any] = {semconv.KEY_DURATION: round(lag, 3)}
    if run is not None:
        keys |= {semconv.KEY_TASK: run.name, semconv.KEY_TASK_RUN: run.id, semconv.KEY_TRACE_ID: run.trace_id}
        if run.request is not None:
            keys |= {semconv.KEY_ROUTE: run.request.route, semconv.KEY_REQUEST_ID: run.request.request_id}
    if held is not None:
        keys[semconv.KEY_PLACE] = held.place
    keys[semconv.KEY_DETAIL] = _NO_TASK if run is None else _TASK
    return {key: value for key, value in keys.items() if value is not None}


def held_by(innermost: FrameType | None, running: Iterable[TaskRun]) -> Held | None:
    """Return where a thread stands, and which of these runs holds it up: the innermost whose function runs there.

    Of several runs of one function, it is the one that began last.
    """
    runs = {code_name(run.function): run for run in running if run.is_async}
    frames: list[FrameType] = []
    for frame in _outwards(innermost):
        frames.append(frame)
        run = runs.get(function_of(frame))
        if run is not None:
            return Held(place(frames[::-1], of=code_name(run.function)) or run.function, run)
    found = place(frames[::-1])
    return None if found is None else Held(found, None)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


class _Thread:
    """The thread of this process that looks after its loops. It ends with the last of them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked child, leave the thread to the parent."""
        self._lock = threading.RLock()
        self._loops: weakref.WeakKeyDictionary[Any, Blockages] = weakref.WeakKeyDictionary()
        self._is_on = False
        self._told_at = 0.0

    def look_after(self, loop: Watched, blockages: Blockages) -> None:
        with self._lock:
            self._loops[loop] = blockages
            if not self._is_on:
                self._is_on = started_thread(self._run, "afterword-loops") is not None

    def may_tell(self) -> bool:
        """Return whether a minute has passed since anything was told."""
        now = time.monotonic()
        if self._told_at and now - self._told_at < _TELL_SECONDS:
            return False
        self._told_at = now
        return True

    def _run(self) -> None:
        while self._look():
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> bool:
        """Look at all loops; return whether there was one. Between two looks nothing here keeps a loop's watch."""
        with self._lock:
            for loop in [loop for loop in self._loops if loop.is_over()]:
                del self._loops[loop]
            loops = list(self._loops.items())
            if not loops:
                self._is_on = False
        for loop, blockages in loops:
            with contained():
                blockages.look(loop)
        return bool(loops)


_thread: Final = _Thread()
forks.in_child(_thread.forget)


def look_after(loop: Watched, blockages: Blockages) -> None:
    """Let the thread of this process look where a loop stands when it is overdue."""
    _thread.look_after(loop, blockages)
