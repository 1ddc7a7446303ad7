"""What ``instrument`` decided for one application, and the ledger that keeps its account."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from .._common import forks, semconv
from .._common.faults import EXITS
from .._common.model import TaskObserver
from .._common.settings import Settings
from .runs import Ledger

_ATTRIBUTE = "_afterword_account"


class Instrumentation:
    """One application's account. It hangs on the application, so that both are collected together."""

    __slots__ = ("__weakref__", "closed", "doubles", "ledger", "route", "settings", "traces_requests")

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        self.ledger = ledger
        self.closed = False
        """After ``uninstrument``: nothing new is opened, what is open is still accounted for."""
        self.route: Any = None
        """Our ``/metrics`` route, if there is one."""
        self.doubles: dict[int, tuple[Any, dict[str, Any], Any]] = {}
        """Copies of exception middleware, by the identity of what they were made from. They refer to the
        application: kept here, they are collected with it."""
        self.traces_requests = False
        """OpenTelemetry contrib was called by us, and must be taken out by us."""
        with _lock:
            _instrumentations.add(self)
            ledger.set_observers([*ledger.observers, *_watchers])

    def failsafe(self, what: str, action: Callable[..., Any], *args: Any) -> Any:
        """Call a part of ours; a fault is counted, logged once, and never reaches the application."""
        try:
            return action(*args)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self.ledger.record_internal_error(semconv.SCOPE, what, fault)
            return None


_instrumentations: weakref.WeakSet[Instrumentation] = weakref.WeakSet()
_watchers: list[TaskObserver] = []
_lock = forks.lock()


def watch(watcher: TaskObserver) -> None:
    """Tell an observer of all accounts of this process, those to come included, beside their own observers."""
    with _lock:
        _watchers.append(watcher)
        for instrumentation in _instrumentations:
            instrumentation.ledger.set_observers([*instrumentation.ledger.observers, watcher])


def unwatch(watcher: TaskObserver) -> None:
    """Undo ``watch``."""
    with _lock:
        _watchers.remove(watcher)
        for instrumentation in _instrumentations:
            instrumentation.ledger.set_observers(
                [each for each in instrumentation.ledger.observers if each is not watcher]
            )


def get_instrumentation(app: Any) -> Instrumentation | None:
    """Return the open account of an application, if it is instrumented."""
    instrumentation: Instrumentation | None = app.__dict__.get(_ATTRIBUTE)
    return instrumentation


def set_instrumentation(app: Any, instrumentation: Instrumentation | None) -> None:
    """Hang an account on an application, or take it off."""
    if instrumentation is None:
        app.__dict__.pop(_ATTRIBUTE, None)
    else:
        app.__dict__[_ATTRIBUTE] = instrumentation
