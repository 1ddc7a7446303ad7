"""What every answer of the console has in common: strict headers, and errors as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Message, Scope, Send

_JSON: Final = "application/json"

_HEADERS: Final = {
    # nothing but our own files: no inline script, no frame around us, no address elsewhere
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


def answer(body: bytes = b"", status: int = 200, more: Mapping[str, str] = {}) -> Response:
    """Return an answer with our headers and more. Nobody may keep it, unless these say so."""
    return Response(body, status, headers={"cache-control": "no-store", **_HEADERS, **more})


def as_json(value: Any) -> bytes:
    """Return a value as JSON that is safe inside a page, too, and has no numbers that JSON has not."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").encode()


def json_answer(body: bytes) -> Response:
    """Return an answer with JSON."""
    return answer(body, more={"content-type": _JSON})


def error(status: int, text: str, more: Mapping[str, str] = {}) -> Response:
    """Return an answer that says what is wrong."""
    return answer(as_json({"error": text}), status, {"content-type": _JSON, **more})


class GoneError(Exception):
    """The client is not there any more."""


class Sending:
    """Sends an answer, without its body if only the head was asked for, and knows whether it has begun."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._head_only = scope.get("method") == "HEAD"
        self._over = False
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send a message; raises ``GoneError`` if nobody is there to get it."""
        if self._over:
            return
        if message["type"] == "http.response.start":
            self.started = True
        elif self._head_only:
            self._over, message = True, {"type": "http.response.body", "body": b""}
        try:
            await self._send(message)
        except OSError as gone:
            raise GoneError from gone
