"""The only place that patches foreign classes: once per process, reversible, idempotent.

For an application that is not instrumented, or a task without a run, a hook calls the original directly. Other
tools patch the same classes, before us and after us, and remove their patches again. What they removed is never
restored. One of our hooks that was removed with theirs is put back a bounded number of times.

Hooks that pass on a user's arguments take their own parameters positional-only: any keyword may be the user's.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import fastapi.background
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Receive, Scope, Send

from .._common import forks, semconv
from .._common.faults import EXITS
from .._common.log import log_fault
from .._ledger.deferred import defer
from .._ledger.instrumentation import Instrumentation, get_instrumentation
from .._ledger.runs import has_open_runs
from . import asgi, batch, exception_handlers, execution, interop, patching, scheduling
from .patching import Function, MethodPatch
from .request_errors import record_request_error
from .state import current_request, find_batch, request_of

# --- the hooks --------------------------------------------------------------------------------------------------


def _task_init(patch: MethodPatch, original: Function) -> Function:
    def __init__(self: BackgroundTask, /, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if patch.hook is hook:
            try:
                scheduling.on_task_created(self)
            except EXITS:
                raise
            except BaseException as fault:  # noqa: BLE001
                _note("the creation of a task", fault)

    hook = __init__
    return hook


def _task_call(patch: MethodPatch, original: Function) -> Function:
    return execution.accounting(patch, original, interop.past_contrib)


def _batch_init(patch: MethodPatch, original: Function) -> Function:
    def __init__(self: BackgroundTasks, /, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if patch.hook is hook and current_request() is not None:
            injected = sys._getframe(1).f_globals.get("__name__") == "fastapi.dependencies.utils"
            try:
                scheduling.on_batch_created(self, injected)
            except EXITS:
                raise
            except BaseException as fault:  # noqa: BLE001
                _note("the creation of a batch", fault)

    hook = __init__
    return hook


def _add_task(patch: MethodPatch, original: Function) -> Function:
    def add_task(self: BackgroundTasks, /, *args: Any, **kwargs: Any) -> None:
        record = find_batch(self) if patch.hook is hook else None
        if record is None:
            original(self, *args, **kwargs)
            return
        scheduling.add_to(record, original, self, *args, **kwargs)

    hook = add_task
    return hook


def _batch_call(patch: MethodPatch, original: Function) -> Function:
    async def __call__(self: BackgroundTasks) -> None:
        if batch.is_tracked(self) and (patch.hook is hook or has_open_runs()):
            await batch.run_batch(self, original, _call_patch.reinstall)
        else:
            await original(self)

    hook = __call__
    return hook


def _exception_middleware(patch: MethodPatch, original: Function) -> Function:
    async def __call__(self: ExceptionMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request()
        if patch.hook is not hook or request is None or scope["type"] not in ("http", "websocket"):
            await original(self, scope, receive, send)
            return
        try:
            double = exception_handlers.with_handlers(request.instrumentation, self)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            _note("wrapping exception handlers", fault)
            double = self
        depth = request.inside = request.inside + 1
        try:
            await original(double, scope, receive, asgi.watch_inside(request, send))
        except GeneratorExit:
            request.inside -= 1
            defer(asgi.settle_rest, request)
            raise
        except BaseException as exc:
            request.instrumentation.failsafe("judging an error", record_request_error, request, exc, depth)
            request.inside -= 1
            if request.settled:
                await asgi.end_late(request, exc)
            raise
        request.inside -= 1
        if request.settled:
            await asgi.end_late(request)

    hook = __call__
    return hook


def _server_error_middleware(patch: MethodPatch, original: Function) -> Function:
    async def __call__(self: ServerErrorMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request()
        if patch.hook is hook and request is not None and scope["type"] == "http":
            self = (
                request.instrumentation.failsafe(
                    "wrapping the error handler", exception_handlers.with_handler, self, request.inside
                )
                or self
            )
        await original(self, scope, receive, send)

    hook = __call__
    return hook


def _application(patch: MethodPatch, original: Function) -> Function:
    async def __call__(self: Starlette, scope: Scope, receive: Receive, send: Send) -> None:
        instrumentation = get_instrumentation(self) if patch.hook is hook else None
        if instrumentation is None and hooks.first_calls and request_of(scope) is None:
            instrumentation = hooks.instrument(self)
        if instrumentation is not None:
            _call_patch.check()
        elif not hooks.users:
            hooks.remove_when_idle()
        call = asgi.choose(instrumentation, scope)
        if call is None:
            await original(self, scope, receive, send)
        else:
            await call(self, instrumentation, scope, receive, send, original)
        if instrumentation is not None and instrumentation.closed:
            hooks.remove_when_idle()

    hook = __call__
    return hook


def _note(what: str, fault: BaseException) -> None:
    """Count and log an internal error where no application's ledger is available yet."""
    request = current_request()
    if request is not None:
        request.instrumentation.ledger.record_internal_error(semconv.SCOPE, what, fault)
    else:
        log_fault(what, fault)


# --- in and out -------------------------------------------------------------------------------------------------

_call_patch = MethodPatch(BackgroundTask, "__call__", _task_call)
_patches = [
    MethodPatch(BackgroundTask, "__init__", _task_init, 2),
    _call_patch,
    MethodPatch(BackgroundTasks, "__init__", _batch_init),
    MethodPatch(BackgroundTasks, "add_task", _add_task, 2),
    MethodPatch(BackgroundTasks, "__call__", _batch_call),
    MethodPatch(ExceptionMiddleware, "__call__", _exception_middleware, 4),
    # without it, a failed request is only reported later: after its response and that response's tasks
    MethodPatch(ServerErrorMiddleware, "__call__", _server_error_middleware, 4, needed=False),
    MethodPatch(Starlette, "__call__", _application, 4),
]
if "__call__" in fastapi.background.BackgroundTasks.__dict__:  # FastAPI >= 0.142 overrides it
    _patches.append(MethodPatch(fastapi.background.BackgroundTasks, "__call__", _batch_call))

FirstCall = Callable[[Starlette], Instrumentation | None]
"""A function that may instrument an application at its first call."""


class Hooks:
    """The patches of this process, and on whose behalf they are installed."""

    def __init__(self, patches: Iterable[MethodPatch]) -> None:
        self.patches = tuple(patches)
        self.first_calls: tuple[FirstCall, ...] = ()
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        self.installed = False
        self._changing = forks.lock()  # one thread may remove the hooks while another installs them

    def on_first_call(self, instrument: FirstCall, *, last: bool = False) -> None:
        """Pass every application, at its first call, to a function that may instrument it.

        The first function that instruments it wins. ``last`` functions are asked after all others.
        """
        self.first_calls = (*self.first_calls, instrument) if last else (instrument, *self.first_calls)

    def off_first_call(self, instrument: FirstCall) -> None:
        """Undo ``on_first_call``."""
        self.first_calls = tuple(other for other in self.first_calls if other != instrument)

    def instrument(self, app: Starlette) -> Instrumentation | None:
        """Let the functions of ``on_first_call`` instrument an application, if one of them does."""
        for instrument in self.first_calls:
            instrumentation = instrument(app)
            if instrumentation is not None:
                return instrumentation
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
            self.users.add(owner)
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
        self.users.discard(owner)
        self.remove_when_idle()
        if self.installed:
            _call_patch.check()  # the request tracing was removed first, and may have removed our hook with it

    def remove_when_idle(self) -> None:
        """Remove the patches, if nobody needs them any more."""
        with self._changing:
            if self.installed and not self.users and not has_open_runs():
                for patch in reversed(self.patches):
                    patch.remove()
                self.installed = False


hooks = Hooks(_patches)
