"""What may be told of an exception: all of it, as far as it is safe to write and not the input that it quotes.

An exception that can be told as it is goes to the user's logging itself, with its traceback begun at the user's
function. Where it or one that hangs on it (a cause, a context, a member of a group) quotes the input of a
validation, has a text that cannot be written or has no end, doubles of them are told in their place. The exception
itself is never touched: the application and the server get it as it was raised.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, Final

from . import tracebacks, validation
from .faults import EXITS
from .text import MAX_NAME, clean, clean_name, is_clean, middle_cut

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_MAX_EXCEPTIONS: Final = 20  # with all that hang on it
_MAX_NOTES: Final = 5
_MAX_STACKTRACE: Final = 20_000
_UNSPEAKABLE: Final = "its text cannot be had"
_QUOTES: Final = "its text is left out, since it quotes the input"
_MORE: Final = "more exceptions hang on it, which are left out"


class _Double(Exception):
    """Stands in for an exception that is not told as it is."""


class _DoubleOfGroup(ExceptionGroup[Exception]):
    """Stands in for a group of exceptions."""


def exc_info(exc: BaseException, *, whole: bool = False) -> ExcInfo:
    """Return type, exception and traceback for a log line.

    The traceback begins at the user's function, unless the ``whole`` of it is asked for.
    """
    shown = exc.__traceback__ if whole else tracebacks.from_user(exc.__traceback__)
    value = exc if _can_be_told(exc) else _double(exc, set())
    kind = type(exc) if _is_named_cleanly(type(exc)) else type(value)
    return kind, value, tracebacks.bounded(shown)


def stacktrace(told: ExcInfo) -> str:
    """Return a traceback as text."""
    return clean(middle_cut("".join(traceback.format_exception(*told)), _MAX_STACKTRACE), 2 * _MAX_STACKTRACE)


def text(exc: BaseException) -> str:
    """Return what an exception says of itself, bounded and without the input of a validation; never raises."""
    if not isinstance(exc, _Double | _DoubleOfGroup) and validation.quotes_input(exc):
        return str(validation.findings(exc) or _QUOTES)
    try:
        return clean(str(exc))
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  whatever the exception does when it is asked
        return _UNSPEAKABLE


# --- whether it can be told as it is ----------------------------------------------------------------------------


def _can_be_told(exc: BaseException) -> bool:
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        one = waiting.pop()
        # a circle has no end for some renderers
        if id(one) in seen or len(seen) == _MAX_EXCEPTIONS or not _is_harmless(one):
            return False
        if one is not exc and not tracebacks.are_few(one.__traceback__):
            return False
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions[:_MAX_EXCEPTIONS]
        behind = _behind(one)
        if behind is not None:
            waiting.append(behind)
    return True


def _is_harmless(exc: BaseException) -> bool:
    """Return whether every text that a renderer may take from an exception can be written."""
    if validation.quotes_input(exc) or not _is_named_cleanly(type(exc)):
        return False
    try:
        notes = getattr(exc, "__notes__", ())
        if len(notes) > _MAX_NOTES:
            return False
        texts = [str(exc), *notes, *exc.args]
        if isinstance(exc, SyntaxError):
            texts += [exc.text, exc.filename]
        return all(is_clean(text) for text in texts if isinstance(text, str))
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  its text cannot be had
        return False


def _is_named_cleanly(cls: type[BaseException]) -> bool:
    return all(is_clean(str(name), MAX_NAME) for name in (cls.__module__, cls.__qualname__, cls.__name__))


def _behind(exc: BaseException) -> BaseException | None:
    """Return what an exception was raised from, as a traceback shows it."""
    return exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


# --- its double -------------------------------------------------------------------------------------------------


def _double(exc: BaseException, seen: set[int]) -> Exception:
    """Return what is told in the place of an exception and of all that hang on it."""
    seen.add(id(exc))
    members = _members(exc, seen) if isinstance(exc, BaseExceptionGroup) else []
    double = _group(exc, members) if members else _named_as(exc, _Double)(text(exc))
    double.__traceback__ = tracebacks.bounded(tracebacks.from_user(exc.__traceback__))
    for note in _notes(exc):
        double.add_note(note)
    behind = _behind(exc)
    if behind is None or id(behind) in seen:
        return double
    if len(seen) >= _MAX_EXCEPTIONS:
        double.add_note(_MORE)
    elif behind is exc.__cause__:
        double.__cause__ = _double(behind, seen)
    else:
        double.__context__ = _double(behind, seen)
    return double


def _members(group: BaseExceptionGroup[Any], seen: set[int]) -> list[Exception]:
    members: list[Exception] = []
    for member in group.exceptions:
        if len(seen) >= _MAX_EXCEPTIONS:
            break
        if id(member) not in seen:
            members.append(_double(member, seen))
    return members


def _group(group: Any, members: list[Exception]) -> Exception:
    double: Exception = _named_as(group, _DoubleOfGroup)(clean(str(group.message)), members)
    if len(members) < len(group.exceptions):
        double.add_note(_MORE)
    return double


def _named_as(exc: BaseException, base: type[Any]) -> type[Any]:
    """Return a class of doubles that is called like the class of the exception."""
    cls = type(exc)
    names = {"__module__": clean_name(str(cls.__module__)), "__qualname__": clean_name(cls.__qualname__)}
    return type(clean_name(cls.__name__), (base,), names)


def _notes(exc: BaseException) -> list[str]:
    try:
        notes = getattr(exc, "__notes__", ())
        return [clean(str(note)) for note in notes[:_MAX_NOTES]]
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  not the notes that Python makes
        return []
