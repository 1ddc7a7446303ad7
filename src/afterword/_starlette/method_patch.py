"""One method of one foreign class, replaced and given back: what ``hooks`` does it with."""

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
    """One method of one foreign class, replaced by a hook that knows what it replaced."""

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
        """Without it the account would not be true."""
        self.original: Function | None = None
        self.hook: Function | None = None
        self._make = make
        self._arguments = arguments
        self._beneath: weakref.WeakSet[Any] = weakref.WeakSet()
        self._trusted: weakref.WeakSet[Any] = weakref.WeakSet()
        self._reinstalls = 0

    def incompatibility(self) -> str | None:
        """Return why the method cannot be hooked on this FastAPI and Starlette, if so."""
        return method_incompatibility(self.cls, self.name, self._arguments)

    def install(self) -> None:
        """Put the hook in place, on top of what is there now."""
        self.original = self.cls.__dict__[self.name]
        # What is called is not always what will be put back: another tool's wrapper may be a descriptor, which
        # takes the instance for one of the arguments unless its class is asked for it.
        called = getattr(self.cls, self.name)
        hook = self._make(self, called)
        functools.update_wrapper(hook, called)
        self.hook = hook
        self._beneath.clear()
        self._beneath.update(_reachable(self.original))
        setattr(self.cls, self.name, hook)

    def remove(self) -> None:
        """Take the hook out; one that another tool has wrapped stays where it is and calls straight through."""
        if self.hook is not None and self.cls.__dict__[self.name] is self.hook:
            setattr(self.cls, self.name, self.original)
        self.hook = None
        self._reinstalls = 0

    def check(self) -> None:
        """Put the hook back if another tool's removal took it out with its own."""
        top = self.cls.__dict__[self.name]
        if top is self.hook or top in self._trusted:
            return
        if top in self._beneath:
            self.reinstall()
        else:
            with contained():  # not everything can be referred to weakly
                self._trusted.add(top)  # a newer patch, which calls ours; ``reinstall`` if it turns out not to

    def reinstall(self) -> None:
        """Put the hook on top again, unless it is there or that has been done too often."""
        if self.cls.__dict__[self.name] is not self.hook and self._reinstalls < _MAX_REINSTALLS:
            self._reinstalls += 1
            self.install()


def _reachable(function: Function) -> set[Any]:
    """Return a function and those that it wraps: what would be left if it were un-patched."""
    found: set[Any] = set()
    waiting: list[Any] = [function]
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
