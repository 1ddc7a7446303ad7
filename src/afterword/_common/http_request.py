"""What a client says of its request: the method and the ``X-Request-ID``, bounded, and the path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .text import clean_name

_MAX_REQUEST_ID: Final = 128

# https://opentelemetry.io/docs/specs/semconv/http/http-spans/ : these, case-sensitive, unless the variable says
# which; the rest is _OTHER. opentelemetry.util.http has a function for it, but of a package without a stable API.
_METHODS: Final = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE"
_OTHER_METHOD: Final = "_OTHER"


def _known_methods(listed: str | None) -> frozenset[str]:
    named = frozenset(method.strip() for method in (listed or "").split(",") if method.strip())
    return named or frozenset(_METHODS.split(","))


_known: Final = _known_methods(os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"))


def http_method(method: Any) -> str | None:
    """Return a request's method as all signals report it: a known method, or ``_OTHER``."""
    return None if method is None else method if method in _known else _OTHER_METHOD


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the ``X-Request-ID``, cut to 128 visible characters without spaces."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value[: 4 * _MAX_REQUEST_ID].decode("latin-1")
            return "".join(c for c in text if c.isprintable() and c != " ")[:_MAX_REQUEST_ID] or None
    return None


def path_and_client(scope: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the path that a client asked for, and its address if the server knows it; bounded, safe to write."""
    client = scope.get("client")
    return clean_name(str(scope.get("path", ""))), clean_name(str(client[0])) if client else None


def path_within(scope: Mapping[str, Any]) -> str:
    """Return the path of a request within its application: without what it is mounted at, or a proxy's prefix."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and is_below(root, path) else path


def is_below(base: str, path: str) -> bool:
    """Return whether a path is another one, or continues it after a slash."""
    return path.startswith(base) and path[len(base) : len(base) + 1] in ("", "/")
