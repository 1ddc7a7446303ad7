"""Who says again what a validation error says: a wrapper that holds the error, or has its words in its own text.

``raise RuntimeError(f"refused: {error}") from error`` quotes the input as the validation error itself does. Such
an exception is told by the places of the error, as that is. What you write of the input yourself is your own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from . import validation

QUOTES: Final = "its text is left out, since it quotes the input"

_MAX_EXCEPTIONS: Final = 100  # that are looked at
_MAX_HELD: Final = 20  # of what one of them holds
_MAX_PIECES: Final = 400
_PIECE: Final = 100
"""Characters of a line, at most, by which it is recognised: the rest of it may be cut off."""
_LINE: Final = 16
"""Characters of a line that is not some name or other; a message or a whole text needs fewer."""
_MESSAGE: Final = 8
_PREFIXES: Final = ("Value error, ", "Assertion failed, ")
# how pydantic says it, also where the error itself is not at hand: it was raised in another process
_PYDANTIC: Final = re.compile(r"\[type=\w+, input_value=")


class Quotation(NamedTuple):
    """A validation error that is at hand, and the words to know it by."""

    error: BaseException
    pieces: list[str]
    told: str
    """What is told in its place."""


def quotations(exc: BaseException) -> list[Quotation]:
    """Return the validation errors that an exception may have got its words from, wherever they hang on it."""
    return [Quotation(one, _pieces(one), told(one)) for one in _reachable(exc) if validation.quotes_input(one)]


def told(error: BaseException) -> str:
    """Return what is told of a validation error: its places."""
    return str(validation.findings(error) or QUOTES)


def in_place_of(exc: BaseException, known: list[Quotation]) -> str | None:
    """Return what is told in the place of an exception's text; ``None`` if it says nothing of an input."""
    if validation.quotes_input(exc):
        return told(exc)
    held = [id(one) for one in _held(exc.args)] if known else []
    return _joined(quotation.told for quotation in known if id(quotation.error) in held)


def in_place_of_text(text: str, known: list[Quotation]) -> str | None:
    """Return what is told in the place of a text; ``None`` if it has no words of a validation error in it."""
    places = _joined(one.told for one in known if any(piece in text for piece in one.pieces))
    return QUOTES if places is None and _PYDANTIC.search(text) else places


def _joined(places: Iterable[str]) -> str | None:
    return "; ".join(dict.fromkeys(places)) or None


def _pieces(error: BaseException) -> list[str]:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  nobody can have got any words from it
        return []
    messages = validation.messages(error)
    for prefix in _PREFIXES:
        messages += [message.removeprefix(prefix) for message in messages if message.startswith(prefix)]
    pieces = [piece for piece in (text.strip(), *map(str.strip, messages)) if len(piece) >= _MESSAGE]
    pieces += [line for line in map(str.strip, text.splitlines()) if len(line) >= _LINE]
    return [piece[:_PIECE] for piece in pieces[:_MAX_PIECES]]


def _reachable(exc: BaseException) -> list[BaseException]:
    """Return an exception and those that hang on it or that it holds, also what a traceback does not show."""
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
        except BaseException:  # noqa: BLE001, S112  it will not be asked for what it holds
            continue
    return list(seen.values())


def _held(values: Any, depth: int = 2) -> Iterator[BaseException]:
    """Return the exceptions among some values, and in their lists, tuples and dictionaries."""
    for value in list(values)[:_MAX_HELD]:
        if isinstance(value, BaseException):
            yield value
        elif depth and isinstance(value, list | tuple):
            yield from _held(value, depth - 1)
        elif depth and isinstance(value, dict):
            yield from _held(value.values(), depth - 1)
