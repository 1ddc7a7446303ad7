"""What other tools put around a task, or made of a function that is added as one; none of them is imported."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any, Final

from .faults import contained
from .log import warn

# These say nothing of what they wrap. Their module begins so, and the function is in this variable of theirs.
_DATADOG: Final = "_trace_background_tasks.<locals>.traced_background_tasks.<locals>.traced_task"
_TASKFLOW: Final = "make_background_func.<locals>._wrapped"
_WRAPPERS: Final = {_DATADOG: ("ddtrace.", "task"), _TASKFLOW: ("fastapi_taskflow.", "func")}

# Calling a task of these runs it here; what sends it to a worker is another method.
_QUEUES: Final = {
    ("celery.app.task", "Task"): ("Celery", "delay"),
    ("celery.local", None): ("Celery", "delay"),
    ("dramatiq.actor", "Actor"): ("Dramatiq", "send"),
    ("taskiq.decor", "AsyncTaskiqDecoratedTask"): ("Taskiq", "kiq"),
    ("procrastinate.tasks", "Task"): ("Procrastinate", "defer"),
}

swallowing = False
"""A wrapper has been seen that returns although what it wraps has failed."""
_warned: set[str] = set()


def is_wrapper(qualname: str) -> bool:
    """Return whether a function of that name may be one that says nothing of what it wraps."""
    return qualname in _WRAPPERS


def wrapped_by(func: Any) -> Any:
    """Return the function in a wrapper that says nothing of it; ``None`` if it is no such wrapper."""
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
    """Return what is to be said of a function that returned, although what it wraps has failed."""
    if type(func) is not FunctionType or func.__qualname__ != _TASKFLOW:
        return None
    with contained():
        kept = _closed_over(func, "store").get(_closed_over(func, "task_id"))
        if kept is not None and kept.status == "failed":
            return "it raised, and fastapi-taskflow has caught that; the error is in its own record of the task"
    return None


def warn_of_queue(func: Any, name: str) -> None:
    """Say once for each name that a task of a queue was added, which runs here and in none of its workers."""
    if name in _warned or type(func) in (FunctionType, MethodType):
        return
    for cls in type(func).__mro__:
        module, qualname = (type.__dict__[each].__get__(cls) for each in ("__module__", "__qualname__"))
        queue = _QUEUES.get((module, None)) or _QUEUES.get((module, qualname))
        if queue is not None:
            _warned.add(name)
            short = name.rpartition(".")[2]
            warn(
                "%s is a task of %s, and add_task(%s, ...) runs it in this process, not in a worker; "
                "add_task(%s.%s, ...) sends it to one",
                *(name, queue[0], short, short, queue[1]),
            )
            return
