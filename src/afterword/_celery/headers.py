"""What travels with a message: when it was published, the request it belongs to, and what the user has bound.

Whatever comes from the broker is somebody else's word: an older version's, a forgery, a megabyte. It is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
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
_LONGEST_VARIABLE: Final = 63
"""Characters of its name: AMQP refuses the whole message for one of more than 255 bytes."""
_GREATEST: Final = 2**63 - 1
"""A number that a broker and OpenTelemetry take: AMQP refuses the whole message for one above."""
_LATEST: Final = 9e9
"""A moment that OpenTelemetry can tell in nanoseconds; it is in the year 2255."""
_MOST_RETRIES: Final = 2**31
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
        carried = _carried(name, value)
        if carried is None or len(bound) >= _MOST_VARIABLES:
            continue
        left -= len(name) + len(str(carried))
        if left < 0:
            break
        bound[name] = carried
    return found | ({_BOUND: bound} if bound else {})


def _carried(name: Any, value: Any) -> str | int | float | None:
    """Return a bound variable as each broker takes it, and as long as it is told; ``None`` if it stays here."""
    if not isinstance(name, str) or len(name) > _LONGEST_VARIABLE or not name.isidentifier():
        return None
    if isinstance(value, str):
        return clean_name(value)
    if isinstance(value, int | float) and -_GREATEST <= value <= _GREATEST:  # what is no number is in no range
        return value
    return None


def said_of(told: Headers) -> Headers:
    """Return where our headers are: beside Celery's own, or apart from them (``task_protocol = 1``)."""
    apart = told.get("headers")
    return apart if AT not in told and isinstance(apart, Mapping) else told


def attempt_of(headers: Headers) -> int:
    """Return which attempt of its task a message is, from 1."""
    retries = headers.get("retries")
    return 1 + min(retries, _MOST_RETRIES) if isinstance(retries, int) and retries > 0 else 1


@lru_cache(256)
def _clean_queue(name: str) -> str:
    return clean_name(name)


def queue(name: Any) -> str | None:
    """Return the name of a queue as signals tell it; ``None`` if it is none."""
    return _clean_queue(name) if isinstance(name, str) and name else None


def published_at(headers: Headers) -> float | None:
    """Return when a message was published; ``None`` if it does not say so in earnest."""
    at = headers.get(AT)
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 < at < _LATEST:
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
        carried = _carried(key, value)
        if carried is not None:
            found[key] = carried
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
