"""Replaces one method of one foreign class, and restores it."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

from .._common.faults import contained
from .compatibility import method_incompatibility

_MAX_REINSTALLS = 10
_MAX_CLOSURES = 50

Function = Callable[..., Any]


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


def _reachable(function: Function) -> set[Function]:
    """Return a function and those that it wraps, which would remain if it were unpatched."""
    found: set[Function] = set()
    waiting: list[object] = [function]
    while waiting and len(found) < _MAX_CLOSURES:
        here = waiting.pop()
        if not isinstance(here, types.FunctionType) or here in found:
            continue
        found.add(here)
        waiting.append(getattr(here, "__wrapped__", None))
        for cell in here.__closure__ or ():
            try:
                waiting.append(cell.cell_contents)
            except ValueError:  # an empty cell
                continue
    return found
