"""The only place that patches foreign classes: once per process, reversible, idempotent.

A hook that is not ours to run (an application that is not instrumented, a task without a run) calls straight
through. Other tools patch the same classes, before us and after us, and take their patches out again; what they
removed is never put back, and a hook of ours that fell out with theirs is put back a bounded number of times.

Where a user's arguments pass through, our own parameters are positional only: any keyword may be his.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

import fastapi.background
from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from .._common import forks
from .._common.faults import EXITS, log_fault
from .._ledger import deferred as lifetimes
from .._ledger import runs as ledger
from .._ledger.instrumentation import Account, account_of
from . import asgi as serving
from . import batch as batches
from . import compatibility as shapes
from . import exception_handlers as errors
from . import execution as calls
from . import response
from . import scheduling as births
from . import state as request
from .patching import Function, Patch

# --- the hooks --------------------------------------------------------------------------------------------------


def _task_init(patch: Patch, original: Function) -> Function:
    def __init__(self: Any, /, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if patch.hook is hook:
            try:
                births.task_born(self)
            except EXITS:
                raise
            except BaseException as fault:  # noqa: BLE001
                _note("the birth of a task", fault)

    hook = __init__
    return hook


def _task_call(patch: Patch, original: Function) -> Function:
    def through(account: Account) -> Function:
        """OpenTelemetry contrib's patch opens a span of its own; where ours is opened, go past it."""
        past = getattr(BackgroundTask, "_otel_original_call", None)
        if account.settings.traces and past is not None and _is_contrib(original):
            return past  # type: ignore[no-any-return]
        return original

    return calls.accounting(patch, original, through)


def _is_contrib(function: Function) -> bool:
    return function.__module__ == "opentelemetry.instrumentation.fastapi"


def _batch_init(patch: Patch, original: Function) -> Function:
    def __init__(self: Any, /, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if patch.hook is hook and request.current() is not None:
            injected = sys._getframe(1).f_globals.get("__name__") == "fastapi.dependencies.utils"
            try:
                births.batch_born(self, injected)
            except EXITS:
                raise
            except BaseException as fault:  # noqa: BLE001
                _note("the birth of a batch", fault)

    hook = __init__
    return hook


def _add_task(patch: Patch, original: Function) -> Function:
    def add_task(self: Any, /, *args: Any, **kwargs: Any) -> None:
        record = lifetimes.recall_batch(self) if patch.hook is hook else None
        if record is None:
            original(self, *args, **kwargs)
            return
        births.add_to(record, original, self, *args, **kwargs)

    hook = add_task
    return hook


def _batch_call(patch: Patch, original: Function) -> Function:
    async def __call__(self: Any) -> None:
        if batches.concerns(self) and (patch.hook is hook or ledger.unended()):
            await batches.run_batch(self, original, _call_patch.reinstall)
        else:
            await original(self)

    hook = __call__
    return hook


def _exception_middleware(patch: Patch, original: Function) -> Function:
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        here = request.current()
        if patch.hook is not hook or here is None or scope["type"] not in ("http", "websocket"):
            await original(self, scope, receive, send)
            return
        try:
            double = errors.with_handlers(here.account, self)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            _note("wrapping exception handlers", fault)
            double = self
        depth = here.inside = here.inside + 1
        try:
            await original(double, scope, receive, response.watch_inside(here, send))
        except GeneratorExit:
            here.inside -= 1
            lifetimes.defer(here.settle_rest)
            raise
        except BaseException as exc:
            here.account.guard("judging an error", here.error_reached, exc, depth)
            here.inside -= 1
            if here.settled:
                await serving.end_late(here, exc)
            raise
        here.inside -= 1
        if here.settled:
            await serving.end_late(here)

    hook = __call__
    return hook


def _server_error_middleware(patch: Patch, original: Function) -> Function:
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        here = request.current()
        if patch.hook is hook and here is not None and scope["type"] == "http":
            self = here.account.guard("wrapping the error handler", errors.with_handler, self, here.inside) or self
        await original(self, scope, receive, send)

    hook = __call__
    return hook


def _application(patch: Patch, original: Function) -> Function:
    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:
        account = account_of(self) if patch.hook is hook else None
        if account is None and _on_sight and request.joined(scope) is None:
            account = _see(self)
        if account is not None:
            _call_patch.check()
        elif not _users:
            _remove_when_idle()
        call = serving.choose(account, scope)
        if call is None:
            await original(self, scope, receive, send)
        else:
            await call(self, account, scope, receive, send, original)
        if account is not None and account.closed:
            _remove_when_idle()

    hook = __call__
    return hook


def _see(app: Any) -> Account | None:
    for instrument in _on_sight:
        account = instrument(app)
        if account is not None:
            return account
    return None


def _note(what: str, fault: BaseException) -> None:
    """Count and log a fault of ours in a place where no account is at hand yet."""
    here = request.current()
    if here is not None:
        here.account.ledger.fault("afterword", what, fault)
    else:
        log_fault(what, fault)


# --- in and out -------------------------------------------------------------------------------------------------

_call_patch = Patch(BackgroundTask, "__call__", _task_call)
_patches = [
    Patch(BackgroundTask, "__init__", _task_init, 2),
    _call_patch,
    Patch(BackgroundTasks, "__init__", _batch_init),
    Patch(BackgroundTasks, "add_task", _add_task, 2),
    Patch(BackgroundTasks, "__call__", _batch_call),
    Patch(ExceptionMiddleware, "__call__", _exception_middleware, 4),
    # without it a failed request is merely reported later: behind its answer and the tasks of that answer
    Patch(ServerErrorMiddleware, "__call__", _server_error_middleware, 4, needed=False),
    Patch(Starlette, "__call__", _application, 4),
]
if "__call__" in fastapi.background.BackgroundTasks.__dict__:  # FastAPI >= 0.142 overrides it
    _patches.append(Patch(fastapi.background.BackgroundTasks, "__call__", _batch_call))

Sight = Callable[[Any], Account | None]

_on_sight: tuple[Sight, ...] = ()
_users: weakref.WeakSet[Any] = weakref.WeakSet()
_installed = False
_changing = forks.lock()  # a server's thread may take the hooks out while another puts them in


def on_sight(instrument: Sight, *, last: bool = False) -> None:
    """Show every application at its first call to a function that may instrument it.

    The first that does has it; ``last`` is for one that only wants what nobody else does.
    """
    global _on_sight
    _on_sight = (*_on_sight, instrument) if last else (instrument, *_on_sight)


def off_sight(instrument: Sight) -> None:
    """Undo ``on_sight``."""
    global _on_sight
    _on_sight = tuple(other for other in _on_sight if other != instrument)


def observable() -> bool:
    """Return whether this FastAPI and Starlette can be observed; where not, that is said once."""
    if _installed:
        return True
    lacking = [text for patch in _patches if patch.needed and (text := patch.complaint()) is not None]
    lacking.extend(shapes.class_complaints())
    if lacking:
        shapes.say(lacking, "no background task is observed, and the application runs as without Afterword")
    return not lacking


def install(app: Any) -> None:
    """Patch the classes for a user, an application mostly, unless that is done; ask ``observable`` first."""
    global _installed
    with _changing:
        _users.add(app)
        if _installed:
            return
        for patch in _patches:
            complaint = None if patch.needed else patch.complaint()
            if complaint is None:
                patch.install()
            else:
                shapes.say([complaint], "a failed request is reported after its answer's own tasks")
        _installed = True


def uninstall(app: Any) -> None:
    """Give the classes back with the last application, as soon as no run of this process is open."""
    _users.discard(app)
    _remove_when_idle()
    if _installed:
        _call_patch.check()  # what traced the requests has gone before us, and may have taken our hook with it


def _remove_when_idle() -> None:
    global _installed
    with _changing:
        if _installed and not _users and not ledger.unended():
            for patch in reversed(_patches):
                patch.remove()
            _installed = False
