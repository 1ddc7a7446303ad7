"""The console as one route of the application: what is asked for, and who answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from .._common.http_request import is_below, path_within
from .access import Access, is_from_elsewhere
from .answers import GoneError, Sending, answer, error
from .api import Api
from .events import Events
from .static import page, static

_METHODS: Final = "GET, HEAD"
_API: Final = "/api/"
_STATIC: Final = "/static/"
_SESSION: Final = "session"
_EVENTS: Final = "events"
_FAULT: Final = "a fault of the console; the application's log says more"
_UNKNOWN: Final = (
    "who asks is not known: send the token as 'Authorization: Bearer TOKEN'; the application's log has the "
    "address with it, unless AFTERWORD_CONSOLE_TOKEN sets it"
)
_ELSEWHERE: Final = "a page of another origin may not ask"

Failed = Callable[[str, BaseException], object]
"""Called with what the console was doing and the error."""


class _TheirError(Exception):
    """A user's own dependency has raised an error, which is the application's."""


class Console:
    """Answers everything at and below its path. A fault in it is told of, and never reaches the application."""

    def __init__(
        self,
        path: str,
        access: Access,
        api: Api,
        events: Events,
        failed: Failed,
        announce: Callable[[str], object],
    ) -> None:
        self.path = path
        self._announce: Callable[[str], object] | None = announce
        self._access = access
        self._api = api
        self._events = events
        self._failed = failed

    def start_up(self, root_path: str) -> None:
        """Say where it is, once; ``root_path`` is what comes before every path of the application."""
        announce, self._announce = self._announce, None
        if announce is not None:
            announce(root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        sending = Sending(scope, send)
        try:
            self.start_up(scope.get("root_path", ""))
            await self._answer(scope, receive, sending)
        except GoneError:
            return
        except _TheirError as error_of_theirs:
            cause = error_of_theirs.__cause__
            raise cause if cause is not None else error_of_theirs from None
        except Exception as fault:  # noqa: BLE001
            self._failed("answering a request for the console", fault)
            if not sending.started:
                await error(500, _FAULT)(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Sending) -> None:
        below = path_within(scope).removeprefix(self.path)
        if scope["method"] not in ("GET", "HEAD"):
            found = error(405, f"only {_METHODS} are answered", {"allow": _METHODS})
        elif not below:  # relative, so that no header of the client's is part of it
            found = answer(status=307, more={"location": f"{self.path.rpartition('/')[2]}/"})
        elif below.startswith(_STATIC):
            name, missing = below.removeprefix(_STATIC), error(404, "there is no such file")
            found = static(name, Headers(scope=scope)) or missing
        elif below == "/":
            admitted = await self._admits(scope, receive, send)
            if send.started:
                return
            found = page(200 if admitted else 401)
        elif below.startswith(_API):
            await self._answer_api(below.removeprefix(_API), scope, receive, send)
            return
        else:
            found = error(404, "there is nothing here")
        await found(scope, receive, send)

    async def _answer_api(self, name: str, scope: Scope, receive: Receive, send: Sending) -> None:
        if is_from_elsewhere(Headers(scope=scope)):
            await error(403, _ELSEWHERE)(scope, receive, send)
        elif not await self._admits(scope, receive, send):
            if not send.started:
                await error(401, _UNKNOWN, {"www-authenticate": "Bearer"})(scope, receive, send)
        elif name == _SESSION:
            cookie = self._access.cookie(scope)
            more = {} if cookie is None else {"set-cookie": cookie}
            await answer(status=204, more=more)(scope, receive, send)
        elif name == _EVENTS:
            await self._events(scope, receive, send)
        else:
            found = await self._api.answer(name, scope["query_string"])
            await found(scope, receive, send)

    async def _admits(self, scope: Scope, receive: Receive, send: Sending) -> bool:
        try:
            return await self._access.admits(scope, receive, send)
        except GoneError:
            raise
        except Exception as theirs:
            if self._access.is_theirs:
                raise _TheirError from theirs
            raise

    def close(self) -> None:
        """End the streams: the console was taken out of its application."""
        self._events.close()


class ConsoleRoute(BaseRoute):
    """The console among an application's routes."""

    include_in_schema = False
    name = "afterword_console"

    def __init__(self, console: Console) -> None:
        self.path = console.path
        self.console = console

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match whatever is asked for by HTTP at the console's path and below."""
        if scope["type"] == "http" and is_below(self.path, path_within(scope)):
            return Match.FULL, {"endpoint": self.console, "path_params": {}}
        return Match.NONE, {}

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """Refuse: the console has no names for its addresses."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.console(scope, receive, send)
