"""Who holds a task, and may still call it: its batch, and whoever else.

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
from typing import Any, Final

from starlette.background import BackgroundTask, BackgroundTasks
from starlette.responses import Response
from starlette.types import Scope

from .state import RequestFailure, TaskRecord, batches_of

_MOST_ERRORS: Final = 10
_MOST_FRAMES: Final = 200
_MOST_VALUES: Final = 1000
_DEPTH: Final = 5
_HOLDERS: Final = (functools.partial, types.CellType, BackgroundTask, Response)
_MODULES: Final = ("fastapi.dependencies.utils", "fastapi.telemetry")
_WRAPPING: Final = 8
_NO_HOLDERS: Final = (type, types.ModuleType, types.FrameType, types.CodeType)

# --- its batch --------------------------------------------------------------------------------------------------


def was_removed(record: TaskRecord) -> bool:
    """Return whether the user took a task out of its batch, and put it into no other one of its request."""
    batch = record.batch() if record.batch is not None else None
    task = record()
    if record.removed or batch is None or task is None or record.run is None:  # without: its creation was cut off
        return record.removed
    if leads_to(batch, task):
        return False
    return not any(leads_to(other, task) for other in batches_of(record.request))


def leads_to(batch: BackgroundTasks, task: BackgroundTask) -> bool:
    """Return whether a task is in a batch: as a member, or inside one that may call it."""
    members = getattr(batch, "tasks", None) or ()
    if any(member is task for member in members):
        return True
    seen: set[int] = set()
    kept: list[Any] = []  # an identity is somebody else's as soon as its object is gone
    layer: list[Any] = list(members)
    for _ in range(_WRAPPING):
        kept.append(layer)
        seen.update(map(id, layer))
        found = gc.get_referents(*layer)
        if any(value is task for value in found):
            return True
        unseen = {id(value): value for value in found if id(value) not in seen and _may_wrap(value)}
        layer = list(unseen.values())
        if not layer or len(seen) > _MOST_VALUES:
            break
    return False


def _may_wrap(value: object) -> bool:
    """Return whether something may belong to a member, as the globals of its function do not."""
    return not isinstance(value, _NO_HOLDERS) and not (isinstance(value, dict) and "__builtins__" in value)


# --- others -----------------------------------------------------------------------------------------------------


def is_held_elsewhere(record: TaskRecord, failure: RequestFailure, scope: Scope | None) -> bool:
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
    layer: list[Any] = [*_frames(failure.reached, failure.traceback), *held, batch and batch(), scope]
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


def _is_looked_into(value: object) -> bool:
    """Return whether a value in a frame is of the kind that Python, FastAPI and Starlette keep arguments in."""
    if isinstance(value, dict | list | tuple):
        return len(value) <= _MOST_VALUES
    return isinstance(value, _HOLDERS) or type(value).__module__.startswith(_MODULES)
