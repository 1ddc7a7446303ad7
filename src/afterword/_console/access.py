"""Who is let in: whoever has the token, in a header or by a cookie, or whom the user's own dependencies let in."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterator
from typing import Final, Protocol
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

COOKIE: Final = "afterword_console"
_MEANING: Final = b"the cookie of Afterword's console"
_ALLOWED_SITES: Final = ("same-origin", "none")
_SCHEME: Final = "bearer"


class Access(Protocol):
    """Decides who is let in.

    Attributes:
        is_theirs: an error in it is the application's own.
    """

    is_theirs: bool

    async def admits(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Return whether a request is let in; if not, it may have been answered already."""
        ...

    def cookie(self, scope: Scope) -> str | None:
        """Return the ``Set-Cookie`` that lets a browser in from now on, if it needs one."""
        ...


def is_from_elsewhere(headers: Headers) -> bool:
    """Return whether a browser says that a page of another origin asks."""
    return headers.get("sec-fetch-site", "none") not in _ALLOWED_SITES


class TokenAccess:
    """Lets in whoever knows the token, as ``Authorization: Bearer``, or has the cookie that was made of it.

    ``token`` returns the token; it may have to make it first.
    """

    is_theirs = False

    def __init__(self, path: str, token: Callable[[], str]) -> None:
        self._path = path
        self._token = token

    async def admits(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Return whether a request has the token or the cookie."""
        headers, token = Headers(scope=scope), self._token()
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == _SCHEME:
            return _same(given.strip(), token)
        cookie = _derived(token)
        # of several with this name, one that is right is enough: others may be of a neighbouring host
        return any(_same(value, cookie) for value in _cookies(headers, _name(scope)))

    def cookie(self, scope: Scope) -> str:
        """Return the cookie: only for us, only for requests of our own page, and not the token itself."""
        # a mount may have a part that the client has chosen
        path = quote(scope.get("root_path", "").rstrip("/") + self._path, safe="/")
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        return f"{_name(scope)}={_derived(self._token())}; HttpOnly; SameSite=Strict; Path={path}{secure}"


def _name(scope: Scope) -> str:
    """Return the cookie's name. A browser sends it to all ports of a host, and there may be other consoles."""
    server = scope.get("server") or ("", None)
    return COOKIE if server[1] is None else f"{COOKIE}_{server[1]}"


def _derived(token: str) -> str:
    return hmac.digest(token.encode(), _MEANING, "sha256").hex()


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())


def _cookies(headers: Headers, wanted: str) -> Iterator[str]:
    for header in headers.getlist("cookie"):
        for part in header.split(";"):
            name, _, value = part.partition("=")
            if name.strip() == wanted:
                yield value.strip()
