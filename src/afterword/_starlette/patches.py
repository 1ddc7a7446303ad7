"""The only place that patches foreign classes: once per process, reversible, idempotent.

For an application that is not instrumented, or a task without a run, a hook calls the original directly. Other
tools patch the same classes, before us and after us, and remove their patches again. What they removed is never
restored. One of our hooks that was removed with theirs is put back a bounded number of times.

Hooks that pass on a user's arguments take their own parameters positional-only: any keyword may be the user's.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import fastapi.background
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Scope

from .._common import forks
from .._ledger.instrumentation import Instrumentation
from .._ledger.runs import has_open_runs
from . import asgi, batch, exception_handlers, execution, interop, patching, scheduling
from .patching import AttributePatch, Function, MethodPatch
from .state import request_of


def _call_task(patch: MethodPatch, original: Function) -> Function:
    return execution.accounting(patch, original, interop.past_contrib)


def _call_batch(patch: MethodPatch, original: Function) -> Function:
    return batch.running(patch, original, _call_patch.reinstall)


def _call_application(patch: MethodPatch, original: Function) -> Function:
    return asgi.calling(patch, original, hooks)


_call_patch = MethodPatch(BackgroundTask, "__call__", _call_task)
_patches: list[MethodPatch | AttributePatch] = [
    MethodPatch(BackgroundTask, "__init__", scheduling.creating, 2),
    _call_patch,
    MethodPatch(BackgroundTasks, "__init__", scheduling.creating_batch),
    MethodPatch(BackgroundTasks, "add_task", scheduling.adding, 2),
    MethodPatch(BackgroundTasks, "__call__", _call_batch),
    MethodPatch(ExceptionMiddleware, "__call__", exception_handlers.catching, 4),
    # without it, a failed request is only reported later: after its response and that response's tasks
    AttributePatch(ServerErrorMiddleware, "handler", exception_handlers.reporting),
    MethodPatch(Starlette, "__call__", _call_application, 4),
]
if "__call__" in fastapi.background.BackgroundTasks.__dict__:  # FastAPI >= 0.142 overrides it
    _patches.append(MethodPatch(fastapi.background.BackgroundTasks, "__call__", _call_batch))

FirstCall = Callable[[Starlette], Instrumentation | None]
"""A function that may instrument an application at its first call."""


class Hooks:
    """The patches of this process, and on whose behalf they are installed."""

    def __init__(self, patches: Iterable[MethodPatch | AttributePatch]) -> None:
        self.patches = tuple(patches)
        self.first_calls: tuple[FirstCall, ...] = ()
        self.users: dict[int, weakref.ref[object]] = {}
        self.installed = False
        self.check = _call_patch.check
        self._changing = forks.lock()  # one thread may remove the hooks while another installs them

    def on_first_call(self, instrument: FirstCall, *, last: bool = False) -> None:
        """Pass every application, at its first call, to a function that may instrument it.

        The first function that instruments it wins. ``last`` functions are asked after all others.
        """
        self.first_calls = (*self.first_calls, instrument) if last else (instrument, *self.first_calls)

    def off_first_call(self, instrument: FirstCall) -> None:
        """Undo ``on_first_call``."""
        self.first_calls = tuple(other for other in self.first_calls if other != instrument)

    def find(self, app: Starlette, scope: Scope) -> Instrumentation | None:
        """Let the functions of ``on_first_call`` instrument an application, if one of them does."""
        if self.first_calls and request_of(scope) is None:
            for instrument in self.first_calls:
                instrumentation = instrument(app)
                if instrumentation is not None:
                    return instrumentation
        if not self.users:
            self.remove_when_idle()
        return None

    def is_compatible(self) -> bool:
        """Return whether this FastAPI and Starlette can be observed; if not, warn once."""
        if self.installed:
            return True
        lacking = [
            text for patch in self.patches if patch.needed and (text := patch.incompatibility()) is not None
        ]
        lacking.extend(patching.class_incompatibilities())
        if lacking:
            patching.warn_once(
                lacking, "no background task is observed, and the application runs as without Afterword"
            )
        return not lacking

    def install(self, owner: object) -> None:
        """Patch the classes on behalf of an owner, usually an application. Check ``is_compatible`` first."""
        with self._changing:
            key, users = id(owner), self.users
            users[key] = weakref.ref(owner, lambda _: users.pop(key, None))
            if self.installed:
                return
            for patch in self.patches:
                incompatibility = None if patch.needed else patch.incompatibility()
                if incompatibility is None:
                    patch.install()
                else:
                    patching.warn_once(
                        [incompatibility], "a failed request is reported after its answer's own tasks"
                    )
            self.installed = True

    def uninstall(self, owner: object) -> None:
        """Remove the patches with the last owner, as soon as no run of this process is open."""
        self.users.pop(id(owner), None)
        self.remove_when_idle()
        if self.installed:
            self.check()  # the request tracing was removed first, and may have removed our hook with it

    def remove_when_idle(self) -> None:
        """Remove the patches, if nobody needs them any more."""
        with self._changing:
            if self.installed and not self.users and not has_open_runs():
                for patch in reversed(self.patches):
                    patch.remove()
                self.installed = False


hooks = Hooks(_patches)
