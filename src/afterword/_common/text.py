"""Text from outside: whatever a client can send is bounded, and can be written to any log, label and attribute."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, Final

MAX_NAME: Final = 200
"""Characters of a name: a task's, a function's, an exception's type."""
MAX_TEXT: Final = 4000
"""Characters of an exception's text."""
_MAX_REQUEST_ID: Final = 128

# What cannot be encoded, or makes a terminal or a viewer show something else than what is there: lone surrogates,
# control characters, line separators, marks that turn the direction of writing. Tabs and new lines may stay.
_HARMFUL_CLASS: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_HARMFUL: Final = re.compile(f"[{_HARMFUL_CLASS}]")
_QUOTED: Final = re.compile(rf"[\s\"={_HARMFUL_CLASS}]")
_AT_MARGIN: Final = re.compile(r"\n(?=[^ \t\n])")
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}

# https://opentelemetry.io/docs/specs/semconv/http/http-spans/ : these, case-sensitive, unless the variable says
# which; the rest is _OTHER. opentelemetry.util.http has a function for it, but of a package without a stable API.
_METHODS: Final = "CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE"
_OTHER_METHOD: Final = "_OTHER"


def _known_methods(listed: str | None) -> frozenset[str]:
    named = frozenset(method.strip() for method in (listed or "").split(",") if method.strip())
    return named or frozenset(_METHODS.split(","))


_known: Final = _known_methods(os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"))


def http_method(method: Any) -> str | None:
    """Return a request's method as every signal tells it: one that is known, or ``_OTHER``."""
    return None if method is None else method if method in _known else _OTHER_METHOD


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the ``X-Request-ID``, cut to 128 visible characters: one word, wherever it is written."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value[: 4 * _MAX_REQUEST_ID].decode("latin-1")
            return "".join(c for c in text if c.isprintable() and c != " ")[:_MAX_REQUEST_ID] or None
    return None


def is_clean(text: str, limit: int = MAX_TEXT) -> bool:
    """Return whether a text can be told as it is."""
    return len(text) <= limit and _HARMFUL.search(text) is None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text that is no longer than a limit and that can be written anywhere."""
    if is_clean(text, limit):
        return text
    escaped = _HARMFUL.sub(_escape, text[:limit])
    if len(text) <= limit and len(escaped) <= limit:
        return escaped
    mark = "..."
    return escaped[: max(0, limit - len(mark))] + mark


def is_indented(text: str) -> bool:
    """Return whether no line of a text but its first could be taken for a line of the log."""
    return _AT_MARGIN.search(text) is None


def indented(text: str) -> str:
    """Return a text whose lines behind the first stand in from the margin, where lines of the log begin."""
    return _AT_MARGIN.sub("\n    ", text)


def middle_cut(text: str, limit: int) -> str:
    """Return a text without its middle, if it is too long: a traceback tells most at its ends."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"


def clean_name(text: str) -> str:
    """Return a name that can be a label, and that is one line."""
    return clean(text.replace("\n", r"\n"), MAX_NAME)


def logfmt(keys: dict[str, Any]) -> str:
    """Return keys and values as one line of ``key=value``, each value one word or in quotation marks."""
    return " ".join(f"{key}={_value(value)}" for key, value in keys.items())


def _value(value: Any) -> str:
    text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
    if text and _QUOTED.search(text) is None:
        return text
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return f'"{_HARMFUL.sub(_escape, escaped)}"'


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
