"""Text from outside. Anything a client can send is bounded and safe to write to any log, label or attribute."""

from __future__ import annotations

import re
from typing import Any, Final

MAX_NAME: Final = 200
"""Characters of a name (task, function or exception type) at most."""
MAX_TEXT: Final = 4000
"""Characters of an exception's text at most."""

# Characters that cannot be encoded, or that change what a terminal or viewer shows: lone surrogates,
# control characters, line separators, marks that turn the direction of writing. Tabs and new lines may stay.
_HARMFUL_CLASS: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_HARMFUL: Final = re.compile(f"[{_HARMFUL_CLASS}]")
_QUOTED: Final = re.compile(rf"[\s\"={_HARMFUL_CLASS}]")
_AT_MARGIN: Final = re.compile(r"\n(?=[^ \t\n])")
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def is_clean(text: str, limit: int = MAX_TEXT) -> bool:
    """Return whether a text is short enough and safe to write unchanged."""
    return len(text) <= limit and _HARMFUL.search(text) is None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text that is at most ``limit`` characters long and safe to write anywhere."""
    if is_clean(text, limit):
        return text
    escaped = _HARMFUL.sub(_escape, text[:limit])
    if len(text) <= limit and len(escaped) <= limit:
        return escaped
    mark = "..."
    return escaped[: max(0, limit - len(mark))] + mark


def is_indented(text: str) -> bool:
    """Return whether every line after the first is indented, so that none looks like a log line."""
    return _AT_MARGIN.search(text) is None


def indented(text: str) -> str:
    """Return a text with every line after the first indented, so that none looks like a log line."""
    return _AT_MARGIN.sub("\n    ", text)


def middle_cut(text: str, limit: int) -> str:
    """Return a text without its middle if it is too long. The ends of a traceback matter most."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters are left out ...\n{text[-half:]}"


def clean_name(text: str) -> str:
    """Return a name that is one line and safe as a label."""
    return clean(text.replace("\n", r"\n"), MAX_NAME)


def logfmt(keys: dict[str, Any]) -> str:
    """Return keys and values as one line of ``key=value``, with values quoted where needed."""
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
