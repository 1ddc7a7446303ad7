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
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final

from starlette.background import BackgroundTask, BackgroundTasks
from starlette.responses import Response

from .state import RequestFailure, TaskRecord, batches_of, members_of

MOST_NESTED: Final = 20
"""Batches inside each other, and tasks that only call another one, that are followed."""
_MOST_ERRORS: Final = 10
_MOST_FRAMES: Final = 200
_MOST_VALUES: Final = 10_000  # that a layer of objects refers to; more would hold up the event loop
_DEPTH: Final = 5
_WRAPPING: Final = 8
_CONTAINERS: Final = (dict, list, tuple, set, frozenset)
_HOLDERS: Final = (dict, list, tuple, functools.partial, types.CellType, BackgroundTask, Response)
_MODULES: Final = ("fastapi.dependencies.utils", "fastapi.telemetry")
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
    members = layer = members_of(batch)
    for _ in range(MOST_NESTED + 1):
        if any(member is task for member in layer):
            return True
        nested = itertools.chain.from_iterable(map(_nested_in, layer))
        layer = tuple({id(inner): inner for inner in nested}.values())
    return any(value is task for found in _referred_to(members, _WRAPPING, _may_wrap) for value in found)


def _nested_in(member: object) -> tuple[Any, ...]:
    """Return what a member of a batch calls by itself: the members of a batch, the task of a task."""
    if issubclass(type(member), BackgroundTasks):
        return members_of(member)
    return (getattr(member, "func", None),) if issubclass(type(member), BackgroundTask) else ()


def _may_wrap(value: object) -> bool:
    """Return whether a value may belong to a member. The globals of its function do not."""
    cls = type(value)
    return not issubclass(cls, _NO_HOLDERS) and not (cls is dict and "__builtins__" in value)  # type: ignore[operator]


# --- others -----------------------------------------------------------------------------------------------------


def is_held_elsewhere(record: TaskRecord, failure: RequestFailure) -> bool:
    """Return whether anything but the frames of a failure holds a task or its batch.

    References to a batch that FastAPI made do not count: an idle worker thread keeps the arguments of the last
    function it called.
    """
    batch = record.batch
    held = [found for found in (record(), batch() if batch and not batch.injected else None) if found is not None]
    missing = {id(held[place]): _references(held, place) for place in range(len(held))}
    of_fastapi = batch() if batch and batch.injected else None
    if of_fastapi is not None and all(count <= 1 for count in missing.values()):
        return False  # its own list
    first = [*_frames(failure.reached, failure.traceback), *held, of_fastapi]
    for found in _referred_to(first, _DEPTH, _is_looked_into):
        for value in found:
            if id(value) in missing:
                missing[id(value)] -= 1
        if all(count <= 0 for count in missing.values()):
            return False
    return True


def _references(objects: list[Any], place: int) -> int:
    """Return the number of references to one of some objects, without those of the list and of this count."""
    return sys.getrefcount(objects[place]) - _COUNTING


_COUNTING = 0
_COUNTING = _references([object()], 0)


def _frames(exc: BaseException | None, first: TracebackType | None) -> list[types.FrameType]:
    """Return the frames that an exception and its causes went through."""
    tracebacks, errors = [first], deque([exc])
    for _ in range(_MOST_ERRORS):
        error = errors.popleft() if errors else None
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
    cls = type(value)
    return issubclass(cls, _HOLDERS) or str(cls.__module__).startswith(_MODULES)


# --- what refers to what ----------------------------------------------------------------------------------------


def _referred_to(
    objects: Iterable[object], depth: int, is_looked_into: Callable[[object], bool]
) -> Iterator[list[object]]:
    """Yield what some objects refer to, then what that refers to, and so on, looking into each object once.

    No object is asked for anything, not even its class: it may be a proxy, or the user's own kind of list.
    """
    known: dict[int, object] = {}  # with the objects: once one is gone, another may have its identity
    layer = list(objects)
    for _ in range(depth):
        known.update((id(value), value) for value in layer)
        found = gc.get_referents(*layer)
        yield found
        unseen = {id(value): value for value in found if id(value) not in known and is_looked_into(value)}
        layer = _smallest(unseen.values())


def _smallest(objects: Iterable[object]) -> list[object]:
    """Return the smallest of some objects, as many as can be looked into at once: the large ones are data."""
    in_order = sorted(objects, key=_size)
    fits = (size <= _MOST_VALUES for size in itertools.accumulate(map(_size, in_order)))
    return list(itertools.compress(in_order, fits))


def _size(value: object) -> int:
    for kind in _CONTAINERS:
        if issubclass(type(value), kind):
            return kind.__len__(value)  # type: ignore[arg-type]
    return 1
