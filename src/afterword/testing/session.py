"""How a test sees the applications of its process, and leaves them as they were."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .._common.faults import EXITS, log_fault
from .._common.settings import Settings
from .._ledger import instrumentation as accounts
from .._setup import instrument as wiring
from .._starlette import patches as hooks
from .account import Account
from .recorder import Recorder

_SILENT = Settings(traces=False, metrics=False, logs=False)


class _Watch:
    """Opens a silent account for every application that has none when it is called, and closes it again."""

    def __init__(self) -> None:
        self._opened: weakref.WeakKeyDictionary[Any, accounts.Account] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()

    def see(self, app: Any) -> accounts.Account | None:
        """Open a silent account, and leave the application alone if that cannot be."""
        try:
            with self._lock:  # clients in several threads may all be the first
                account = accounts.account_of(app)
                if account is None:
                    account = wiring.apply(app, _SILENT, trace_requests=False)
                    if account is not None:
                        self._opened[app] = account
                return account
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            log_fault(f"the test does not see {type(app).__name__}", fault)
            return None

    def close(self) -> None:
        """Take Afterword out of the applications again, but for those that have been instrumented meanwhile."""
        with self._lock:
            opened = list(self._opened.items())
        for app, account in opened:
            if accounts.account_of(app) is account:
                wiring.uninstrument(app)


@contextmanager
def account() -> Iterator[Account]:
    """Open an account of every background task that is scheduled in this process meanwhile.

    It sees applications that call ``instrument``, and adds nothing to them; to one that does not, nothing is
    added that could be noticed: no ``/metrics``, no spans, no log lines. Afterwards all is as it was, and the
    account can still be read. Contexts may be nested; each has the account of its own time.

    Raises:
        RuntimeError: the installed FastAPI or Starlette cannot be observed; a test must not pass for that.
    """
    if not hooks.observable():
        raise RuntimeError("afterword cannot observe this version of FastAPI or Starlette; its log line says why")
    recorder, watch = Recorder(), _Watch()
    opened = Account(recorder)
    accounts.watch(recorder)
    hooks.on_sight(watch.see, last=True)
    hooks.install(watch)
    try:
        yield opened
    finally:
        _ = opened.runs  # what died during the test belongs to it
        hooks.off_sight(watch.see)
        watch.close()
        hooks.uninstall(watch)
        accounts.unwatch(recorder)
