"""Exceptions that repeat a validation error: a wrapper that holds the error, or quotes its text.

``raise RuntimeError(f"refused: {error}") from error`` quotes the input just as the validation error does. Such an
exception is reported by the error's locations, as the validation error is. Input that you write into a message
yourself is not recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from . import validation

QUOTES: Final = "its text is left out, because it quotes the input"

_MAX_EXCEPTIONS: Final = 100  # examined per exception
_MAX_HELD: Final = 20  # values examined per exception
_MAX_PIECES: Final = 400
_PIECE: Final = 100
"""A line is recognised by this many characters at most; the rest may be cut off."""
_LINE: Final = 16
"""A shorter line may be any name. A message or a whole text needs fewer."""
_MESSAGE: Final = 8
_PREFIXES: Final = ("Value error, ", "Assertion failed, ")
# pydantic's own wording, for an error that was raised in another process and is not available here
_PYDANTIC: Final = re.compile(r"\[type=\w+, input_value=")


class Quotation(NamedTuple):
    """A validation error, and the text to recognise it by."""

    error: BaseException
    pieces: list[str]
    told: str
    """The text that replaces it."""


def quotations(exc: BaseException) -> list[Quotation]:
    """Return the validation errors that an exception may quote, wherever it refers to them."""
    return [Quotation(one, _pieces(one), told(one)) for one in _reachable(exc) if validation.quotes_input(one)]


def told(error: BaseException) -> str:
    """Return the text that replaces a validation error: its locations."""
    return str(validation.findings(error) or QUOTES)


def in_place_of(exc: BaseException, known: list[Quotation]) -> str | None:
    """Return a replacement for an exception's text; ``None`` if the text quotes no input."""
    if validation.quotes_input(exc):
        return told(exc)
    held = [id(one) for one in _held(exc.args)] if known else []
    return _joined(quotation.told for quotation in known if id(quotation.error) in held)


def in_place_of_text(text: str, known: list[Quotation]) -> str | None:
    """Return a replacement for a text; ``None`` if it quotes no validation error."""
    places = _joined(one.told for one in known if any(piece in text for piece in one.pieces))
    return QUOTES if places is None and _PYDANTIC.search(text) else places


def _joined(places: Iterable[str]) -> str | None:
    return "; ".join(dict.fromkeys(places)) or None


def _pieces(error: BaseException) -> list[str]:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  then nobody can have quoted it
        return []
    messages = validation.messages(error)
    for prefix in _PREFIXES:
        messages += [message.removeprefix(prefix) for message in messages if message.startswith(prefix)]
    pieces = [piece for piece in (text.strip(), *map(str.strip, messages)) if len(piece) >= _MESSAGE]
    pieces += [line for line in map(str.strip, text.splitlines()) if len(line) >= _LINE]
    return [piece[:_PIECE] for piece in pieces[:_MAX_PIECES]]


def _reachable(exc: BaseException) -> list[BaseException]:
    """Return an exception and all that it refers to, including those that a traceback does not show."""
    seen: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [exc]
    while waiting and len(seen) < _MAX_EXCEPTIONS:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen[id(one)] = one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions[:_MAX_HELD]
        try:
            waiting += _held((*one.args, *vars(one).values()))
        except BaseException:  # noqa: BLE001, S112  its own code raised
            continue
    return list(seen.values())


def _held(values: Any, depth: int = 2) -> Iterator[BaseException]:
    """Return the exceptions among the values, and in their lists, tuples and dictionaries."""
    for value in list(values)[:_MAX_HELD]:
        if isinstance(value, BaseException):
            yield value
        elif depth and isinstance(value, list | tuple):
            yield from _held(value, depth - 1)
        elif depth and isinstance(value, dict):
            yield from _held(value.values(), depth - 1)
