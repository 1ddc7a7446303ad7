"""``@task``: describe a function that is used as a background task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from . import semconv as names

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def task(name: Function) -> Function: ...


@overload
def task(name: str | None = None, *, run_on_request_error: bool = False) -> Callable[[Function], Function]: ...


def task(name: Any = None, *, run_on_request_error: bool = False) -> Any:
    """Describe a function that is used as a background task; a decorator that returns the function itself.

    Args:
        name: its name in all signals, instead of ``module.qualname``.
        run_on_request_error: run it after the error response, instead of dropping it, if its request fails.

    Raises:
        TypeError: ``name`` is no string, or what is decorated is not callable or takes no attributes.
    """
    if callable(name):
        return task()(name)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name: a string is needed, not {name!r}")

    def describe(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"task: a function is needed, not {function!r}")
        try:
            names.declare(function, names.TaskOptions(name, run_on_request_error))
        except (AttributeError, TypeError) as exc:
            raise TypeError(f"task: {function!r} takes no attributes; decorate a function around it") from exc
        return function

    return describe
