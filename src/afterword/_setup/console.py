"""Wires the console: where its runs come from, who is let in, and its route in the application."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from starlette.applications import Starlette

from .._common import semconv
from .._common.log import emit, once, warn
from .._console.access import Access, TokenAccess
from .._console.api import Api
from .._console.events import Events
from .._console.guard import DependencyAccess
from .._console.routes import Console, ConsoleRoute
from .._console.tokens import Token
from .._ledger.deferred import drain
from .._ledger.instrumentation import Instrumentation, Settings, consoles
from .._ledger.journal.journal import Journal
from .._ledger.recent import RecentRuns
from .._ledger.server import address
from .._signals.worker_threads import note_limiter, worker_threads
from .._views.account import Accounts, read
from .._views.feed import feed_of
from .._views.reader import JournalReader, Reader, RecentReader
from .environment import console_path, console_token, trace_url
from .exposition import render
from .occupied_path import Yielding, is_taken

_LAW: Final = [
    *(f"{metric.prometheus}_total" for metric in (semconv.SCHEDULED, semconv.ENDED, semconv.LOST)),
    *(metric.prometheus for metric in (semconv.PENDING, semconv.RUNNING)),
]
"""The series by which the account is checked."""
_OPEN: Final = (
    "whoever has this address sees what became of the background tasks; it is the same for all workers, and "
    "AFTERWORD_CONSOLE_TOKEN or console_dependencies replace its token"
)
_CLOSED: Final = "what became of the background tasks is shown here, to whoever is let in"


class _Route(Yielding, ConsoleRoute):
    """The console's route, which does not count as the user's."""


def path_for(app: Starlette, settings: Settings) -> str | None:
    """Return where an application's console is to be; ``None`` for none. Raises ``ValueError`` if it is taken."""
    path = settings.console or console_path()
    if path is None:
        return None
    is_metrics = path == settings.metrics_path
    if not is_metrics and not is_taken(app.router.routes, path):
        return path
    whose = "where the metrics are" if is_metrics else "already a route of this application"
    if settings.console is not None:
        raise ValueError(f"console: {path!r} is {whose}")
    if once.first("console", path):
        warn("AFTERWORD_CONSOLE: %r is %s, so there is no console", path, whose)
    return None


def add_route(
    app: Starlette, instrumentation: Instrumentation, path: str, source: RecentRuns | Journal
) -> Console:
    """Add the console's route before all others, and return what answers there."""
    settings, failed = instrumentation.settings, instrumentation.record_fault
    reader: Reader = RecentReader(source) if isinstance(source, RecentRuns) else JournalReader(source.directory)
    journal = source if isinstance(source, Journal) else None
    access, announce = _access(app, settings, path, journal)
    api = Api(
        reader,
        trace_url(),
        accounts=partial(_accounts, settings, journal),
        threads=worker_threads,
        prepare=_prepare,
    )
    console = Console(path, access, api, Events(partial(feed_of, reader), failed), failed, announce)
    app.router.routes.insert(0, _Route(console))
    consoles.add(path)
    return console


def remove_route(app: Starlette, console: Any) -> None:
    """Remove the console's route, and end its streams."""
    routes: list[Any] = app.router.routes
    routes[:] = [route for route in routes if getattr(route, "console", None) is not console]
    console.close()


def _access(
    app: Starlette, settings: Settings, path: str, journal: Journal | None
) -> tuple[Access, Callable[[str], None]]:
    """Return who is let in, and what says where the console is."""
    if settings.console_dependencies and isinstance(app, FastAPI):
        return DependencyAccess(app, settings.console_dependencies), partial(_say, path, None)
    token = Token(console_token(), None if journal is None else journal.directory)
    return TokenAccess(path, token.get), partial(_say, path, token)


def _say(path: str, token: Token | None, root_path: str) -> None:
    """Say where the console is: with its token once for a server, if it was made for whoever reads the log."""
    where = f"{address()}{root_path.rstrip('/')}{path}/"
    if token is None or token.is_given:
        emit("info", semconv.EVENT_CONSOLE, {semconv.KEY_PATH: where, semconv.KEY_DETAIL: _CLOSED})
        return
    secret = token.get()
    if token.is_news:
        # a warning, as nothing less is shown where logging is not set up, and whoever reads it is let in
        keys = {semconv.KEY_PATH: f"{where}#token={secret}", semconv.KEY_DETAIL: _OPEN}
        emit("warning", semconv.EVENT_CONSOLE, keys)


def _prepare() -> None:
    """Do what can only be done on the event loop, before something is read in a thread."""
    drain()  # what was collected a moment ago has its end, too
    note_limiter()


def _accounts(settings: Settings, journal: Journal | None) -> Accounts | None:
    """Return the account as the application publishes it."""
    if settings.registry is None or not settings.metrics:
        return None
    body, headers = render(settings.registry, journal, "", "", _LAW)
    return read(body.decode(), headers["content-type"])
