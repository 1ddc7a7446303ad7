"""Finds out what still holds a task and may call it: its batch, a queue, a worker.

A task whose endpoint has raised is often still alive, because the exception holds the frames it went through, and
these hold the task. To tell them from a queue or a worker, we count all references to the task, and subtract those
from the frames and from what FastAPI and Starlette keep in them.
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

from .state import RequestFailure, TaskRecord, batches_of, members_of

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
    """Return whether the user took a task out of its batch and put it into no other batch of its request."""
    batch = record.batch() if record.batch is not None else None
    task = record()
    if record.removed or batch is None or task is None or record.run is None:  # no run: its creation was cut short
        return record.removed
    if leads_to(batch, task):
        return False
    return not any(leads_to(other, task) for other in batches_of(record.request))


def leads_to(batch: BackgroundTasks, task: BackgroundTask) -> bool:
    """Return whether a task is in a batch: as a member, or inside a member that may call it."""
    members = members_of(batch)
    if any(member is task for member in members):
        return True
    seen: set[int] = set()
    kept: list[Any] = []  # once an object is gone, another may have its identity
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
    """Return whether a value may belong to a member. The globals of its function do not."""
    return not isinstance(value, _NO_HOLDERS) and not (isinstance(value, dict) and "__builtins__" in value)


# --- others -----------------------------------------------------------------------------------------------------


def is_held_elsewhere(record: TaskRecord, failure: RequestFailure, scope: Scope | None) -> bool:
    """Return whether anything but a failure's frames and the request's ASGI scope holds a task or its batch.

    References to a batch that FastAPI made do not count: an idle worker thread keeps the arguments of the last
    function it called.
    """
    batch = record.batch
    held = [found for found in (record(), batch() if batch and not batch.injected else None) if found is not None]
    missing = {id(held[place]): _references(held, place) for place in range(len(held))}
    if len(held) == 1 and batch and _references(held, 0) <= 1:
        return False  # the batch's own list
    seen: set[int] = set()
    kept: list[Any] = []  # once an object is gone, another may have its identity
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
    """Return the number of references to one of some objects, without those of the list and of this count."""
    return sys.getrefcount(objects[place]) - _COUNTING


_COUNTING = 0
_COUNTING = _references([object()], 0)


def _frames(exc: BaseException | None, first: TracebackType | None) -> list[types.FrameType]:
    """Return the frames that an exception and its causes went through."""
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
    """Return whether a value is of a kind in which Python, FastAPI and Starlette keep arguments."""
    if isinstance(value, dict | list | tuple):
        return len(value) <= _MOST_VALUES
    return isinstance(value, _HOLDERS) or type(value).__module__.startswith(_MODULES)
