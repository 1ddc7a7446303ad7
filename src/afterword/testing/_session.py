"""Observes the applications of a test's process, and leaves them unchanged."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._common.faults import EXITS
from .._common.log import log_fault
from .._ledger.instrumentation import Instrumentation, Settings, get_instrumentation, unwatch, watch
from .._setup import instrument
from .._setup.celery_application import off_creation, on_creation
from .._starlette.patches import hooks
from ._account import Account
from ._recorder import Recorder

_SILENT = Settings(traces=False, metrics=False, logs=False)


class _Session:
    """Instruments every application that is not instrumented, without signals, and undoes it.

    FastAPI's and Starlette's on their first call; Celery's that there are, and those that are made.
    """

    def __init__(self) -> None:
        self._opened: weakref.WeakKeyDictionary[Any, Instrumentation] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()

    def see(self, app: Any) -> Instrumentation | None:
        """Instrument an application without signals; leave it alone if that is not possible."""
        try:
            with self._lock:  # clients in several threads may arrive at the same time
                instrumentation = get_instrumentation(app)
                if instrumentation is None:
                    instrumentation = instrument.apply_to(app, _SILENT, trace_requests=False)
                    if instrumentation is not None:
                        self._opened[app] = instrumentation
                return instrumentation
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            log_fault(f"the test does not see {type(app).__name__}", fault)
            return None

    def close(self) -> None:
        """Remove Afterword from the applications, except for those instrumented by their own code meanwhile."""
        with self._lock:
            opened = list(self._opened.items())
        for app, instrumentation in opened:
            if get_instrumentation(app) is instrumentation:
                instrument.uninstrument(app)


@contextmanager
def account() -> Iterator[Account]:
    """Open an account of every background task that is scheduled in this process while it is open.

    Applications that call ``instrument`` are covered unchanged. Other applications, Celery's as well, are covered
    without visible changes: no ``/metrics``, no spans, no log lines. Afterwards everything is restored, and you
    can still read the account. Contexts may be nested; each covers its own time.

    Raises:
        RuntimeError: the installed FastAPI or Starlette cannot be observed. A test must not pass because of it.
    """
    if not hooks.is_compatible():
        raise RuntimeError("afterword cannot observe this version of FastAPI or Starlette; its log line says why")
    recorder, session = Recorder(), _Session()
    opened = Account(recorder)
    watch(recorder)
    hooks.on_first_call(session.see, last=True)
    hooks.install(session)
    on_creation(session.see)
    try:
        yield opened
    finally:
        _ = opened.runs  # objects collected during the test belong to it
        off_creation(session.see)
        hooks.off_first_call(session.see)
        session.close()
        hooks.uninstall(session)
        unwatch(recorder)
