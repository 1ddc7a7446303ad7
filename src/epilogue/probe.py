"""What stands between Starlette and the user's function: it reads the clock and looks at what is returned."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from time import perf_counter
from typing import Any

from starlette.background import BackgroundTask

from . import verdict
from .model import TaskRun
from .names import unwrap


class Probe:
    """Watches one call of a user's function; in a worker thread it only notes clock readings."""

    # one object for each call of a task: what was not read stands on the class of the call
    __slots__ = ("began", "finished", "func", "unrun")

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.began: float | None = None
        self.finished: float | None = None
        self.unrun: str | None = None
        """What is wrong with the value that was returned, if nobody will run it."""

    def in_thread(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function that Starlette runs in a worker thread."""
        self.began = perf_counter()
        try:
            result = self.func(*args, **kwargs)
        finally:
            self.finished = perf_counter()
        self._look_at(result)
        return result

    async def on_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function that Starlette awaits."""
        result = await self.func(*args, **kwargs)
        self._look_at(result)
        return result

    def note_times(self, run: TaskRun) -> None:
        """Split a sync task's time into the wait for a thread and the running."""
        if run.is_async:
            return
        now = perf_counter()
        began = self.began if self.began is not None else now
        run.thread_wait = began - run._started_tick
        run.duration = (self.finished if self.finished is not None else now) - began

    def _look_at(self, result: Any) -> None:
        if result is not None and _will_never_run(result, self.func):
            self.unrun = verdict.never_awaited(result)


class Shadow(BackgroundTask):
    """A stand-in that the original ``__call__`` is given, so that the user's task is never changed.

    A module-level task may be called by many requests at once; swapping its function would be seen by all.
    """

    def __init__(self, task: Any, probe: Probe, *, named: bool) -> None:
        # not BackgroundTask.__init__: this is no birth, and Starlette's verdict on the function is taken over
        self.__dict__.update(task.__dict__)
        watched: Any = probe.on_loop if task.is_async else probe.in_thread
        # another tool between us and Starlette may name its span after the function
        self.func = _named(watched, probe.func) if named else watched


def _named(watched: Any, func: Any) -> Any:
    try:
        if inspect.iscoroutinefunction(watched):

            @functools.wraps(func)
            async def stand_in(*args: Any, **kwargs: Any) -> Any:
                return await watched(*args, **kwargs)

            return stand_in
        return functools.wraps(func)(functools.partial(watched))
    except Exception:  # noqa: BLE001  whatever the object does when it is asked for its name
        return watched


def _will_never_run(result: Any, func: Any) -> bool:
    """Return whether a value is work that has not begun and that nobody can begin any more.

    A coroutine is; so is the function's own generator, but not one that it merely returns: ``pool.map`` has done
    its work by then.
    """
    if inspect.iscoroutine(result):
        return inspect.getcoroutinestate(result) == inspect.CORO_CREATED
    if inspect.isgenerator(result):
        return result.gi_code is _code(func) and inspect.getgeneratorstate(result) == inspect.GEN_CREATED
    if inspect.isasyncgen(result):
        return result.ag_code is _code(func)
    return False


def _code(func: Any) -> Any:
    function = unwrap(func)
    if not hasattr(function, "__code__") and not hasattr(function, "__func__"):
        function = inspect.getattr_static(type(function), "__call__", None)  # a callable object
    return getattr(getattr(function, "__func__", function), "__code__", None)
