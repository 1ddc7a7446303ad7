"""What travels with a message: when it was published, the request it belongs to, and what the user has bound.

Whatever comes from the broker is somebody else's word: an older version's, a forgery, a megabyte. It is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.propagators.textmap import Getter

from .._common import semconv
from .._common.context import bound_variables
from .._common.http_request import http_method
from .._common.model import RequestInfo
from .._common.text import clean_name

AT: Final = "afterword_at"
"""When it was published, in seconds since the epoch, by the publisher's clock."""
FROM: Final = "afterword_from"
"""The request that it was published in, and the variables that were bound there."""

_BOUND: Final = "bound"
_MOST_VARIABLES: Final = 20
_MOST_CHARACTERS: Final = 2000
_LONGEST: Final = 8192
_PREFIX: Final = "structlog_"
_KEYS: Final = (semconv.KEY_METHOD, semconv.KEY_ROUTE, semconv.KEY_REQUEST_ID)

Headers = Mapping[str, Any]


def origin(request: RequestInfo | None) -> dict[str, Any]:
    """Return what a worker's lines should have of where a task comes from."""
    found: dict[str, Any] = {}
    if request is not None:
        values = request.method, request.route, request.request_id
        found = {key: value for key, value in zip(_KEYS, values, strict=True) if value is not None}
    bound: dict[str, Any] = {}
    left = _MOST_CHARACTERS
    for variable, value in bound_variables():
        name = variable.name.removeprefix(_PREFIX)
        if not isinstance(value, str | int | float | bool) or len(bound) >= _MOST_VARIABLES:
            continue
        left -= len(name) + len(str(value))
        if left < 0:
            break
        bound[name] = value
    return found | ({_BOUND: bound} if bound else {})


def published_at(headers: Headers) -> float | None:
    """Return when a message was published; ``None`` if it does not say so in earnest."""
    at = headers.get(AT)
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at) or at <= 0:
        return None
    return float(at)


def request_of(headers: Headers) -> RequestInfo | None:
    """Return the request that a message says it was published in."""
    said = headers.get(FROM)
    if not isinstance(said, Mapping):
        return None
    method, route, request_id = (said.get(key) for key in _KEYS)
    method = http_method(method) if isinstance(method, str) else None
    route = clean_name(route) if isinstance(route, str) and route else None
    request_id = clean_name(request_id) if isinstance(request_id, str) and request_id else None
    return RequestInfo(method, route, request_id) if method or route or request_id else None


def bound_by(headers: Headers) -> dict[str, Any]:
    """Return the variables that a message says were bound where it was published."""
    said = headers.get(FROM)
    bound = said.get(_BOUND) if isinstance(said, Mapping) else None
    if not isinstance(bound, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, value in bound.items():
        if len(found) >= _MOST_VARIABLES:
            break
        if isinstance(key, str) and key.isidentifier() and len(key) <= 100:
            if isinstance(value, str):
                found[key] = clean_name(value)
            elif isinstance(value, bool | int | float):
                found[key] = value
    return found


class _Texts(Getter[Headers]):
    """What a propagator may read: texts of a sensible length. Nothing is copied: there are thirty headers."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """Return a header."""
        value = carrier.get(key)
        return [value] if isinstance(value, str) and len(value) <= _LONGEST else None

    def keys(self, carrier: Headers) -> list[str]:
        """Return the names of the headers."""
        return [key for key in carrier if isinstance(key, str)]


_texts: Final = _Texts()


def remote_context(headers: Headers) -> Context | None:
    """Return OpenTelemetry's context of where a message was published; ``None`` if it has none."""
    context = extract(headers, Context(), _texts)
    return context or None
