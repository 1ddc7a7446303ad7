"""Replaces one method of one foreign class, and restores it; checks first that FastAPI and Starlette allow it.

The account is only correct if it includes every creation, call and failure. So if one of the hooked methods is
missing or has changed, nothing is observed at all, and one warning says so.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

import fastapi
import fastapi.background
import starlette
import starlette.background
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Receive, Scope, Send

from .._common.faults import contained
from .._common.log import once, warn
from .task_proxy import stand_in_for

_MAX_REINSTALLS = 10
_MAX_CLOSURES = 50

Function = Callable[..., Any]

# --- one method -------------------------------------------------------------------------------------------------


class MethodPatch:
    """One method of one foreign class, replaced by a hook that knows the original."""

    def __init__(
        self,
        cls: type,
        name: str,
        make: Callable[[MethodPatch, Function], Function],
        arguments: int = 1,
        *,
        needed: bool = True,
    ) -> None:
        self.cls = cls
        self.name = name
        self.needed = needed
        """Whether the account would be wrong without it."""
        self.original: Function | None = None
        self.hook: Function | None = None
        self._make = make
        self._arguments = arguments
        self._beneath: weakref.WeakSet[Function] = weakref.WeakSet()
        self._trusted: weakref.WeakSet[Function] = weakref.WeakSet()
        self._reinstalls = 0

    def incompatibility(self) -> str | None:
        """Return why the method cannot be hooked on this FastAPI and Starlette; ``None`` if it can."""
        return method_incompatibility(self.cls, self.name, self._arguments)

    def install(self) -> None:
        """Install the hook on top of the current method."""
        self.original = replaced = self.cls.__dict__[self.name]
        # The called object may differ from the one to restore: another tool's wrapper may be a descriptor, which
        # mistakes the instance for an argument unless it is looked up on the class.
        called = getattr(self.cls, self.name)
        hook = self._make(self, called)
        functools.update_wrapper(hook, called)
        self.hook = hook
        self._beneath.clear()
        self._beneath.update(_reachable(replaced))
        setattr(self.cls, self.name, hook)

    def remove(self) -> None:
        """Remove the hook. If another tool has wrapped it, it stays and calls the original directly."""
        if self.hook is not None and self.cls.__dict__[self.name] is self.hook:
            setattr(self.cls, self.name, self.original)
        self.hook = None
        self._reinstalls = 0

    def check(self) -> None:
        """Put the hook back if another tool removed it with its own."""
        top = self.cls.__dict__[self.name]
        if top is self.hook or top in self._trusted:
            return
        if top in self._beneath:
            self.reinstall()
        else:
            with contained():  # not everything supports weak references
                self._trusted.add(top)  # a newer patch that calls ours; if not, see ``reinstall``

    def reinstall(self) -> None:
        """Put the hook on top again, unless it is there already or was put back too often."""
        if self.cls.__dict__[self.name] is not self.hook and self._reinstalls < _MAX_REINSTALLS:
            self._reinstalls += 1
            self.install()


class AttributePatch:
    """One attribute that the instances of a foreign class have, read through a function of ours.

    It costs nothing where it is not read. What an instance stores is not changed.
    """

    needed = False
    """Whether the account would be wrong without it."""

    def __init__(self, cls: type, name: str, read: Callable[[Any], Any]) -> None:
        self.cls = cls
        self.name = name
        self.hook: property | None = None
        self._read = read

    def incompatibility(self) -> str | None:
        """Return why the attribute cannot be read through us; ``None`` if it can."""
        label = f"{self.cls.__module__}.{self.cls.__qualname__}.{self.name}"
        instance = None
        with contained():
            instance = self.cls(_answer_nothing)
        if self.name in self.cls.__dict__ or self.name not in getattr(instance, "__dict__", ()):
            return f"{label} is no attribute of its instances"
        return None

    def install(self) -> None:
        """Put a property in front of the attribute."""
        name, read = self.name, self._read

        def get(instance: Any) -> Any:
            try:
                return read(instance.__dict__[name])
            except KeyError:
                raise AttributeError(name, name=name, obj=instance) from None

        def forget(instance: Any) -> None:
            if instance.__dict__.pop(name, self) is self:
                raise AttributeError(name, name=name, obj=instance)

        self.hook = property(get, lambda instance, value: instance.__dict__.__setitem__(name, value), forget)
        setattr(self.cls, name, self.hook)

    def remove(self) -> None:
        """Take the property away, unless another tool has put something in its place."""
        if self.hook is not None and self.cls.__dict__.get(self.name) is self.hook:
            delattr(self.cls, self.name)
        self.hook = None


def _reachable(function: Function) -> set[Function]:
    """Return a function and those that it wraps, which would remain if it were unpatched."""
    found: set[Function] = set()
    waiting: list[object] = [function]
    while waiting and len(found) < _MAX_CLOSURES:
        here = waiting.pop()
        if not isinstance(here, FunctionType) or here in found:
            continue
        found.add(here)
        waiting.append(getattr(here, "__wrapped__", None))
        for cell in here.__closure__ or ():
            try:
                waiting.append(cell.cell_contents)
            except ValueError:  # an empty cell
                continue
    return found


# --- whether it fits --------------------------------------------------------------------------------------------


def method_incompatibility(cls: type, name: str, arguments: int) -> str | None:
    """Return why a method cannot be hooked, if so; it must accept this number of arguments."""
    found = cls.__dict__.get(name)
    label = f"{cls.__module__}.{cls.__qualname__}.{name}"
    if found is None:
        return f"{label} is not there"
    if not callable(found) or isinstance(found, staticmethod | type):
        return f"{label} is no method"
    try:
        inspect.signature(found).bind(*(None,) * arguments)
    except TypeError:
        return f"{label} takes other arguments"
    except ValueError:  # another tool's wrapper with an unknown signature
        return None
    return None


def class_incompatibilities() -> Iterator[str]:
    """Yield further differences in the classes, found by trying them out."""
    for incompatibility, holds in (
        ("starlette.background.BackgroundTask keeps its function differently", _a_stand_in_is_called),
        ("starlette.background.BackgroundTasks keeps its tasks differently", _tasks_are_listed),
        ("fastapi.BackgroundTasks is not Starlette's", _is_one_family),
        ("starlette's ExceptionMiddleware keeps its handlers differently", _handlers_are_in_tables),
    ):
        known = False
        with contained():
            known = holds()
        if not known:
            yield incompatibility


def warn_once(incompatibilities: list[str], consequence: str) -> None:
    """Log once what is incompatible in this FastAPI and Starlette, and the consequence."""
    text = "; ".join(incompatibilities)
    if once.first("incompatible", text):
        versions = f"FastAPI {_version(fastapi)} with Starlette {_version(starlette)}"
        warn("%s, because %s is not built as Afterword knows it: %s", consequence, versions, text)


def _version(module: ModuleType) -> str:
    return str(getattr(module, "__version__", "of unknown version"))


def _a_stand_in_is_called() -> bool:
    """Return whether the original ``__call__`` runs a ``TaskProxy`` in place of a task."""
    called: list[Any] = []

    async def function(*args: Any, **kwargs: Any) -> None:
        called.append((args, kwargs))

    if _patched_by_others():
        return True
    task = BackgroundTask(function, 1, key=2)
    double = stand_in_for(task)
    running: Any = BackgroundTask.__call__(double)
    try:
        running.send(None)
    except StopIteration:
        return called == [((1,), {"key": 2})]
    finally:
        running.close()
    return False


def _tasks_are_listed() -> bool:
    if _patched_by_others():
        return True
    task = BackgroundTask(print)
    return BackgroundTasks([task]).tasks == [task]


def _patched_by_others() -> bool:
    """Return whether another tool would mistake a trial task for one of the application's."""
    home = vars(starlette.background)
    methods: tuple[Any, ...] = (BackgroundTask.__init__, BackgroundTask.__call__, BackgroundTasks.__init__)
    # a proxy of the method has the method's globals, but another type
    return any(type(method) is not FunctionType or method.__globals__ is not home for method in methods)


def _is_one_family() -> bool:
    return issubclass(fastapi.background.BackgroundTasks, BackgroundTasks) and issubclass(
        BackgroundTasks, BackgroundTask
    )


def _handlers_are_in_tables() -> bool:
    middleware: Any = ExceptionMiddleware(_answer_nothing)
    return isinstance(middleware._exception_handlers, Mapping) and isinstance(middleware._status_handlers, Mapping)


async def _answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An empty ASGI application."""
