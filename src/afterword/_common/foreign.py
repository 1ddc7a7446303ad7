"""Tasks that other tools have wrapped or created. None of these tools is imported."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any, Final

from .faults import contained
from .log import once, warn

# Wrappers without ``__wrapped__``: the prefix of their module, and the closure variable with the function.
_DATADOG: Final = "_trace_background_tasks.<locals>.traced_background_tasks.<locals>.traced_task"
_TASKFLOW: Final = "make_background_func.<locals>._wrapped"
_WRAPPERS: Final = {_DATADOG: ("ddtrace.", "task"), _TASKFLOW: ("fastapi_taskflow.", "func")}

# Calling one of these tasks runs it in this process; the named method sends it to a worker.
_QUEUES: Final = {
    ("celery.app.task", "Task"): ("Celery", "delay"),
    ("celery.local", None): ("Celery", "delay"),
    ("dramatiq.actor", "Actor"): ("Dramatiq", "send"),
    ("taskiq.decor", "AsyncTaskiqDecoratedTask"): ("Taskiq", "kiq"),
    ("procrastinate.tasks", "Task"): ("Procrastinate", "defer"),
}

swallowing = False
"""Whether a wrapper was found that returns even if the wrapped function has failed."""


def is_wrapper(qualname: str) -> bool:
    """Return whether a function of this name may be a wrapper without ``__wrapped__``."""
    return qualname in _WRAPPERS


def wrapped_by(func: Any) -> Any:
    """Return the function inside a wrapper without ``__wrapped__``; ``None`` if it is not such a wrapper."""
    global swallowing
    if type(func) is not FunctionType or func.__qualname__ not in _WRAPPERS:
        return None
    module, variable = _WRAPPERS[func.__qualname__]
    if not func.__module__.startswith(module):
        return None
    if func.__qualname__ == _TASKFLOW:
        swallowing = True
    return _closed_over(func, variable)


def _closed_over(func: FunctionType, variable: str) -> Any:
    cells = dict(zip(func.__code__.co_freevars, func.__closure__ or (), strict=False))
    return cells[variable].cell_contents if variable in cells else None


def swallowed(func: Any) -> str | None:
    """Return a detail if a function returned although the function it wraps has failed."""
    if type(func) is not FunctionType or func.__qualname__ != _TASKFLOW:
        return None
    with contained():
        kept = _closed_over(func, "store").get(_closed_over(func, "task_id"))
        if kept is not None and kept.status == "failed":
            return "it raised, and fastapi-taskflow has caught that; the error is in its own record of the task"
    return None


def warn_of_queue(func: Any, name: str) -> None:
    """Warn once per name that a task of a queue was added, so that it runs here and not in a worker."""
    if type(func) in (FunctionType, MethodType):
        return
    queue = next(filter(None, map(_queue_of, type(func).__mro__)), None)
    if queue is not None and once.first("queue", name):
        short = name.rpartition(".")[2]
        warn(
            "%s is a task of %s, and add_task(%s, ...) runs it in this process, not in a worker; "
            "add_task(%s.%s, ...) sends it to one",
            *(name, queue[0], short, short, queue[1]),
        )


def _queue_of(cls: type) -> tuple[str, str] | None:
    module, qualname = (type.__dict__[each].__get__(cls) for each in ("__module__", "__qualname__"))
    return _QUEUES.get((module, None)) or _QUEUES.get((module, qualname))
