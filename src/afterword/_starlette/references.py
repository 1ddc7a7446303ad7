"""Who holds a task whose request failed: only what the error ended, or also somebody who may yet call it.

A task whose endpoint has raised is often alive, because the exception holds the frames it went through and these
hold the task. That is told from a queue or a worker by counting: all references to it, less those from the frames
and from what FastAPI and Starlette keep in them.
"""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import types
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from starlette.background import BackgroundTask
from starlette.responses import Response

if TYPE_CHECKING:
    from .._ledger.deferred import TaskRecord
    from .unstarted import Failure

_MOST_ERRORS: Final = 10
_MOST_FRAMES: Final = 200
_MOST_VALUES: Final = 1000
_DEPTH: Final = 5
_HOLDERS: Final = (functools.partial, types.CellType, BackgroundTask, Response)
_MODULES: Final = ("fastapi.dependencies.utils", "fastapi.telemetry")


def held_elsewhere(record: TaskRecord, failure: Failure, asgi: Any) -> bool:
    """Return whether anything but a failure's frames and the request's ASGI scope holds a task or its batch.

    Of a batch that FastAPI made that cannot be told: a worker thread holds the arguments of the last function that
    it called, for as long as it has no other.
    """
    batch = record.batch
    held = [found for found in (record(), batch() if batch and not batch.injected else None) if found is not None]
    missing = {id(held[place]): _references(held, place) for place in range(len(held))}
    if len(held) == 1 and batch and _references(held, 0) <= 1:
        return False  # the batch's own list
    seen: set[int] = set()
    kept: list[Any] = []  # an identity is somebody else's as soon as its object is gone
    layer: list[Any] = [*_frames(failure.reached, failure.traceback), *held, batch and batch(), asgi]
    for _ in range(_DEPTH):
        kept.append(layer)
        seen.update(map(id, layer))
        found = gc.get_referents(*layer)
        for value in found:
            if id(value) in missing:
                missing[id(value)] -= 1
        if max(missing.values(), default=0) <= 0:
            return False
        unseen = {id(value): value for value in found if id(value) not in seen and _is_looked_into(value)}
        layer = list(unseen.values())
    return True


def _references(objects: list[Any], place: int) -> int:
    """Return how many references there are to one of some objects, beside the list's and the count's own."""
    return sys.getrefcount(objects[place]) - _COUNTING


_COUNTING = 0
_COUNTING = _references([object()], 0)


def _frames(exc: BaseException | None, first: TracebackType | None) -> list[types.FrameType]:
    """Return the frames that an exception went through, with those of what caused it."""
    tracebacks = [first]
    errors: list[BaseException | None] = [exc]
    for error in itertools.islice(errors, _MOST_ERRORS):  # it grows meanwhile
        if error is not None:
            tracebacks.append(error.__traceback__)
            errors += [error.__cause__, error.__context__]
            if isinstance(error, BaseExceptionGroup):
                errors += error.exceptions[:_MOST_ERRORS]
    frames: dict[int, types.FrameType] = {}
    for traceback in tracebacks:
        step = traceback
        while step is not None and len(frames) < _MOST_FRAMES:
            frames[id(step.tb_frame)] = step.tb_frame
            step = step.tb_next
    return list(frames.values())


def _is_looked_into(value: Any) -> bool:
    """Return whether a value in a frame is of the kind that Python, FastAPI and Starlette keep arguments in."""
    if isinstance(value, dict | list | tuple):
        return len(value) <= _MOST_VALUES
    return isinstance(value, _HOLDERS) or type(value).__module__.startswith(_MODULES)
