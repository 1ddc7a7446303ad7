"""How a test sees the applications of its process, and leaves them as they were."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._common.faults import EXITS
from .._common.log import log_fault
from .._common.settings import Settings
from .._ledger.instrumentation import Instrumentation, get_instrumentation, unwatch, watch
from .._setup import instrument
from .._starlette import patches
from .account import Account
from .recorder import Recorder

_SILENT = Settings(traces=False, metrics=False, logs=False)


class _Session:
    """Opens a silent account for every application that has none when it is called, and closes it again."""

    def __init__(self) -> None:
        self._opened: weakref.WeakKeyDictionary[Any, Instrumentation] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()

    def see(self, app: Any) -> Instrumentation | None:
        """Open a silent account, and leave the application alone if that cannot be."""
        try:
            with self._lock:  # clients in several threads may all be the first
                instrumentation = get_instrumentation(app)
                if instrumentation is None:
                    instrumentation = instrument.apply(app, _SILENT, trace_requests=False)
                    if instrumentation is not None:
                        self._opened[app] = instrumentation
                return instrumentation
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            log_fault(f"the test does not see {type(app).__name__}", fault)
            return None

    def close(self) -> None:
        """Take Afterword out of the applications again, but for those that have been instrumented meanwhile."""
        with self._lock:
            opened = list(self._opened.items())
        for app, instrumentation in opened:
            if get_instrumentation(app) is instrumentation:
                instrument.uninstrument(app)


@contextmanager
def account() -> Iterator[Account]:
    """Open an account of every background task that is scheduled in this process meanwhile.

    It sees applications that call ``instrument``, and adds nothing to them; to one that does not, nothing is
    added that could be noticed: no ``/metrics``, no spans, no log lines. Afterwards all is as it was, and the
    account can still be read. Contexts may be nested; each has the account of its own time.

    Raises:
        RuntimeError: the installed FastAPI or Starlette cannot be observed; a test must not pass for that.
    """
    if not patches.is_compatible():
        raise RuntimeError("afterword cannot observe this version of FastAPI or Starlette; its log line says why")
    recorder, session = Recorder(), _Session()
    opened = Account(recorder)
    watch(recorder)
    patches.on_first_call(session.see, last=True)
    patches.install(session)
    try:
        yield opened
    finally:
        _ = opened.runs  # what died during the test belongs to it
        patches.off_first_call(session.see)
        session.close()
        patches.uninstall(session)
        unwatch(recorder)
