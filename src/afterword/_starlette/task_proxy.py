"""What stands between Starlette and the user's function: it reads the clock and looks at what is returned."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from time import perf_counter
from types import CodeType, FrameType
from typing import Any, Final

from starlette.background import BackgroundTask

from .._common.faults import EXITS, contained
from .._common.model import TaskRun
from .._common.task_names import running_function, unwrap

# of what can be awaited: its frame, and what it awaits itself
_KINDS: Final = (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await"))


class TaskProxy(BackgroundTask):
    """A stand-in that the original ``__call__`` is given: it watches one call of the user's function.

    The user's task is never changed: a module-level one may be called by many requests at once, and swapping its
    function would be seen by all. In a worker thread the stand-in only notes clock readings.

    What the original calls, ``func``, is a method of the subclass: ``on_loop`` or ``in_thread``. Create one with
    ``stand_in_for``.
    """

    began: float | None = None
    finished: float | None = None
    has_identity = False
    never_awaited: str | None = None
    """What is wrong with the value that was returned, if nobody will run it."""

    def __init__(self, task: BackgroundTask) -> None:
        # not BackgroundTask.__init__: no task is created, and Starlette's verdict on the function is kept
        self.user_func = task.func
        self.args, self.kwargs, self.is_async = task.args, task.kwargs, task.is_async
        if not callable(task.func):
            self.func = task.func  # there is nothing to watch, and it fails by the same error as without us

    def copy_identity(self, task: BackgroundTask) -> None:
        """Take over the task's attributes and its function's name: another tool before Starlette may look."""
        self.has_identity = True
        watched = self.func
        for attribute, value in task.__dict__.copy().items():  # other requests may call the same one
            self.__dict__.setdefault(attribute, value)
        if watched is not self.user_func:
            self.func = _named(watched, self.user_func)

    def in_thread(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function that Starlette runs in a worker thread."""
        self.began = perf_counter()
        try:
            result = self.user_func(*args, **kwargs)
        finally:
            self.finished = perf_counter()
        if result is not None:
            self._look_at(result)
        return result

    async def on_loop(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function that Starlette awaits."""
        result = await self.user_func(*args, **kwargs)
        if result is not None:
            self._look_at(result)
        return result

    def frames(self) -> list[FrameType] | None:
        """Return the frames in the thread, from the user's function inwards; none while it waits for one."""
        if self.began is None:
            return []
        for frame in sys._current_frames().values():
            inside: list[FrameType] = []
            here: FrameType | None = frame
            while here is not None:
                if here.f_code is _IN_THREAD and here.f_locals.get("self") is self:
                    return inside[::-1]
                inside.append(here)
                here = here.f_back
        return None

    def end(self, run: TaskRun) -> None:
        """Note the times of a sync task: the wait for a thread, and the running."""
        if not self.is_async:
            now = perf_counter()
            began = self.began if self.began is not None else now
            run.thread_wait = began - run._started_tick
            run.duration = (self.finished if self.finished is not None else now) - began
        if self.has_identity:  # a bound method in one's own dictionary is work for the garbage collector
            self.__dict__.pop("func", None)

    def _look_at(self, result: object) -> None:
        self.never_awaited = never_awaited(result, self.user_func, awaits=self.is_async)


_IN_THREAD = TaskProxy.in_thread.__code__


class _OnLoop(TaskProxy):
    func = TaskProxy.on_loop


class _InThread(TaskProxy):
    func = TaskProxy.in_thread


def stand_in_for(task: BackgroundTask) -> TaskProxy:
    """Return a stand-in for one call of a task."""
    return (_OnLoop if task.is_async else _InThread)(task)


def awaited(waiting: Any) -> Iterator[FrameType]:
    """Yield the frames of a suspended coroutine and of what it awaits, outermost first."""
    while waiting is not None:
        for frame, inner in _KINDS:
            found = getattr(waiting, frame, None)
            if found is not None:
                yield found
                waiting = getattr(waiting, inner, None)
                break
        else:
            return


def never_awaited(result: object, func: Callable[..., Any] | None, *, awaits: bool) -> str | None:
    """Return what is wrong with the value that a function returned, if nobody will run it.

    ``awaits`` says that the function is async.
    """
    with contained():  # a proxy may raise anything when it is asked what it is
        if _will_never_run(result, func, awaits=awaits):
            return _why_never_awaited(result)
    return None


def _named(watched: Callable[..., Any], func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls what is watched, and that says of itself what the user's function says."""
    try:
        stand_in: Any = _awaiting(watched) if inspect.iscoroutinefunction(watched) else _calling(watched)
        if not hasattr(func, "__qualname__"):  # a partial, a callable object: both look like their own kind
            innermost = unwrap(func)
            named = innermost if hasattr(innermost, "__qualname__") else type(innermost)
            functools.update_wrapper(stand_in, named, updated=())
        else:
            functools.update_wrapper(stand_in, func)
        stand_in.__wrapped__ = func
        return stand_in  # type: ignore[no-any-return]
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  whatever the object does when it is asked for its name
        return watched


def _awaiting(watched: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    async def stand_in(*args: Any, **kwargs: Any) -> Any:
        return await watched(*args, **kwargs)

    return stand_in


def _calling(watched: Callable[..., Any]) -> Callable[..., Any]:
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return watched(*args, **kwargs)

    return stand_in


def _will_never_run(result: object, func: Callable[..., Any] | None, *, awaits: bool) -> bool:
    """Return whether a value is work that has not begun and that nobody can begin any more.

    A coroutine is; so is the function's own generator, but not one that it merely returns: ``pool.map`` has done
    its work by then. ``awaits`` says that the function is async.
    """
    if inspect.iscoroutine(result):
        return inspect.getcoroutinestate(result) == inspect.CORO_CREATED
    if inspect.isgenerator(result):
        own = result.gi_code is _code(func) or inspect.isawaitable(result)  # made by types.coroutine
        return own and inspect.getgeneratorstate(result) == inspect.GEN_CREATED
    if inspect.isasyncgen(result):
        return result.ag_code is _code(func)
    # Of others nobody can see whether they have been awaited, which only an async function can have done: it may
    # return a client, or a query that it has run. What looks like a coroutine is of no use to anybody afterwards.
    return isinstance(result, Coroutine if awaits else Awaitable) and not _is_under_way(result)


def _is_under_way(result: object) -> bool:
    """Return whether an awaitable is only the end of work that goes on by itself, as futures and tasks are."""
    # asyncio's, gevent's and dask's; Twisted's
    return asyncio.isfuture(result) or any(hasattr(result, name) for name in ("add_done_callback", "addCallbacks"))


def _code(func: Callable[..., Any] | None) -> CodeType | None:
    return getattr(running_function(func), "__code__", None)


def _why_never_awaited(result: object) -> str:
    """Say what is wrong with a task that returned something to be run."""
    return (
        f"it returned something that nobody awaits or iterates ({type(result).__name__}), so its body never "
        "ran; schedule the function itself, not a lambda around it, and no generator function"
    )
