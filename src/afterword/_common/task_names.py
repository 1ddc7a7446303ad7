"""Names tasks, and provides ``@task``, which describes them.

A task is named ``module.qualname`` of the function that really runs: ``functools.partial`` and ``functools.wraps``
are unwrapped. Every object gets a name, even if it raises when it is inspected.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from math import inf
from types import FunctionType
from typing import Any, Final, NamedTuple, TypeVar, overload

from . import foreign
from .cardinality import TASK_NAMES
from .faults import EXITS, contained
from .text import clean_name

_OPTIONS: Final = "__afterword_task__"
_MAX_UNWRAP: Final = 20
_MOST_CODE_NAMES: Final = 1000


class TaskOptions(NamedTuple):
    """The options that ``@task`` stored on a function."""

    name: str | None = None
    run_on_request_error: bool = False
    isolated: bool = False
    slow_after: float | None = None


_NO_OPTIONS: Final = TaskOptions()

_declared: dict[str, None] = {}
_slow_after: dict[str, float] = {}


def slow_after() -> dict[str, float]:
    """Return the seconds after which a run is slow, by the full name of its function; of those that said so."""
    return _slow_after


def declare(func: Callable[..., Any], options: TaskOptions) -> None:
    """Store options on a function; raises ``AttributeError`` or ``TypeError`` if it accepts no attributes."""
    func = func.__func__ if isinstance(func, staticmethod) else func  # its class gives away only what is inside
    setattr(func, _OPTIONS, options)
    function = function_name(func).removesuffix(".__call__")  # a callable object is named after its class
    if options.slow_after is None:
        _slow_after.pop(function, None)
    else:
        _note_slow_after(function, options.slow_after)
    if len(_declared) < TASK_NAMES.limit:
        _declared[options.name or function] = None


def _note_slow_after(function: str, seconds: float) -> None:
    if function in _slow_after or len(_slow_after) < TASK_NAMES.limit:
        _slow_after[function] = seconds


def declared() -> list[str]:
    """Return the names of all functions decorated with ``@task``, scheduled or not."""
    return [TASK_NAMES.admit(name) for name in list(_declared)]  # another thread may add names


def task_options(func: Any) -> TaskOptions:
    """Return the options that ``@task`` stored on a function or on anything it wraps. Never raises.

    Those of a callable object may be its own, its class's or those of its ``__call__``.
    """
    layers = _layers(func)
    for depth in range(len(layers) + 1):
        try:
            layer = layers[depth] if depth < len(layers) else type(layers[-1]).__call__
            options = getattr(layer, _OPTIONS, None)
        except EXITS:
            raise
        except BaseException:  # noqa: BLE001, S112  a proxy may raise anything
            continue
        if isinstance(options, TaskOptions):
            return options
    return _NO_OPTIONS


def function_name(func: Any) -> str:
    """Return ``module.qualname`` of the function that will really run. Never raises.

    ``functools.partial`` and ``functools.wraps`` are unwrapped. A bound method is named after its object's class,
    a callable object after its class.
    """
    innermost = func
    for innermost in _layers(func):  # noqa: B007  the last one counts
        pass
    try:
        return clean_name(_describe(innermost))
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  whatever the object does when it is asked for its name
        return _type_name(innermost)


_plain: dict[tuple[str, str], tuple[str, str]] = {}
"""What ``identify`` returns for functions without options or wrappers, by their module and qualified name."""


def identify(func: Any) -> tuple[str, str]:
    """Return a task's label (``@task(name=...)`` or its function's name, bounded in number) and its function."""
    is_plain = type(func) is FunctionType and not func.__dict__ and type(func.__module__) is str
    is_plain = is_plain and type(func.__qualname__) is str
    if is_plain:
        known = _plain.get((func.__module__, func.__qualname__))
        if known is not None:
            return known
    function = function_name(func)
    options = task_options(func)
    name = TASK_NAMES.admit(options.name or function)
    if function not in _code_names and len(_code_names) < _MOST_CODE_NAMES:
        with contained():
            _code_names[function] = _code_name(func) or function
    if options.slow_after is not None:
        _note_slow_after(function, options.slow_after)  # a method of a subclass has another name than the declared
    if is_plain and name == f"{func.__module__}.{func.__qualname__}" and not foreign.is_wrapper(func.__qualname__):
        _plain[func.__module__, func.__qualname__] = name, function  # as many as there are names
    with contained():
        foreign.warn_of_queue(func.func if isinstance(func, functools.partial) else func, name)
    return name, function


_code_names: dict[str, str] = {}
"""How the code of a task's function is named, by the function's full name."""


def code_name(function: str) -> str:
    """Return how the frames of a task's function are named, given its full name.

    A callable object is named after its class and an inherited method after that of its object, and their code is
    not; a function may have been given another name.
    """
    return _code_names.get(function, function)


def _code_name(func: Any) -> str | None:
    innermost = running_function(func)
    code, names = getattr(innermost, "__code__", None), getattr(innermost, "__globals__", {})
    return None if code is None else f"{names.get('__name__')}.{code.co_qualname}"


def running_function(func: Any) -> Any:
    """Return the function whose code runs: that of a method, or of the ``__call__`` of a callable object."""
    innermost = unwrap(func)
    if not hasattr(innermost, "__code__") and not hasattr(innermost, "__func__"):
        innermost = inspect.getattr_static(type(innermost), "__call__", None)
    return getattr(innermost, "__func__", innermost)


def unwrap(func: Any) -> Any:
    """Return the innermost function inside ``partial`` and ``wraps``."""
    innermost = func
    for innermost in _layers(func):  # noqa: B007
        pass
    return innermost


def _layers(func: Any) -> list[Any]:
    """Return the callable and what it wraps, outermost first. Bounded: a proxy may return itself."""
    layers = [func]
    while len(layers) <= _MAX_UNWRAP:
        try:
            inner = func.func if isinstance(func, functools.partial) else _wrapped(func)
        except EXITS:
            raise
        except BaseException:  # noqa: BLE001
            break
        if inner is None or not callable(inner) or any(inner is layer for layer in layers):
            break
        layers.append(inner)
        func = inner
    return layers


def _wrapped(func: Any) -> Any:
    inner = foreign.wrapped_by(func)
    return inner if inner is not None else getattr(func, "__wrapped__", None)


def _describe(func: Any) -> str:
    owner = getattr(func, "__self__", None)
    if owner is not None and hasattr(func, "__func__"):
        cls = owner if isinstance(owner, type) else type(owner)
        return f"{_type_name(cls)}.{_text(func.__name__)}"
    if isinstance(func, type):
        return _type_name(func)
    qualname = getattr(func, "__qualname__", None)
    if not isinstance(qualname, str):
        return _type_name(type(func))
    module = getattr(func, "__module__", None)
    return f"{_text(module)}.{qualname}" if isinstance(module, str) else qualname


def _type_name(cls: Any) -> str:
    cls = cls if isinstance(cls, type) else type(cls)
    # type's own descriptors, so that a metaclass cannot interfere
    module, qualname = (type.__dict__[name].__get__(cls) for name in ("__module__", "__qualname__"))
    return clean_name(f"{module}.{qualname}" if isinstance(module, str) else str(qualname))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a name")
    return value


# --- @task ------------------------------------------------------------------------------------------------------

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def task(name: Function) -> Function: ...


@overload
def task(
    name: str | None = None,
    *,
    run_on_request_error: bool = False,
    isolated: bool = False,
    slow_after: float | None = None,
) -> Callable[[Function], Function]: ...


def task(
    name: Any = None,
    *,
    run_on_request_error: bool = False,
    isolated: bool = False,
    slow_after: float | None = None,
) -> Any:
    """Describe a function that you use as a background task. The decorator returns the function itself.

    The switches do something where the application is instrumented, and for FastAPI's and Starlette's tasks.

    Args:
        name: its name in all signals; ``module.qualname`` by default.
        run_on_request_error: if an exception ends its request, run it after the answer that is made of that,
            whatever its status, instead of dropping it.
        isolated: if it raises, the tasks behind it run all the same. Its failure is told by all signals and to
            ``on_task_failure``, and its exception goes no further: the server does not print it once more. Code
            that awaits one task by itself still gets it, as do a task's function and a subclass's ``__call__``.
        slow_after: if it runs for longer than so many seconds, a warning says so once, while it goes on, and where
            it stands (``background_task.slow``). Looked at twice a second, on asyncio. By default nobody looks.

    Raises:
        TypeError: ``name`` is not a string, ``slow_after`` is no number, or the decorated object is not callable
            or accepts no attributes.
        ValueError: ``slow_after`` is not above 0, or infinite.
    """
    if callable(name):
        return task()(name)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name: a string is needed, not {name!r}")
    if slow_after is not None:
        if isinstance(slow_after, bool) or not isinstance(slow_after, int | float):
            raise TypeError(f"slow_after: a number of seconds is needed, not {slow_after!r}")
        if not 0 < slow_after < inf:
            raise ValueError(f"slow_after: a number of seconds above 0 is needed, not {slow_after!r}")

    def describe(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"task: a function is needed, not {function!r}")
        try:
            declare(function, TaskOptions(name, run_on_request_error, isolated, slow_after))
        except (AttributeError, TypeError) as exc:
            raise TypeError(f"task: {function!r} takes no attributes; decorate a function around it") from exc
        return function

    return describe
