"""Decides what to report of an exception: everything that is safe to write, without any input that it quotes.

Usually the exception itself goes to the user's logging. Its traceback starts at the user's function and has a
bounded number of frames. A double replaces the exception if it, its cause, its context or a member of its group
quotes the input of a validation, or if a text cannot be written, is too long, or could pass for lines of the log.
The exception itself is never changed: the application gets it as it was raised.

With the privacy switch, a double without text and without variables replaces every exception.

If an exception raises when it is asked for its text, that error stays here, even one that would end the process.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any, Final

from ..text import MAX_TEXT, clean, clean_name, indented, is_clean, is_indented, middle_cut
from .quotations import Quotation, in_place_of, in_place_of_text, quotations
from .tracebacks import bounded, from_user, from_user_written, has_few_frames, without_values
from .withheld import WITHHELD, are_texts_withheld

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_MAX_EXCEPTIONS: Final = 20  # including those behind it
_MAX_NOTES: Final = 5
_MAX_STACKTRACE: Final = 20_000
_NO_TEXT: Final = "its text is not available"
_MORE: Final = "further exceptions behind it are left out"


class _Double(Exception):
    """Reported in place of an exception that cannot be reported as it is."""


class _DoubleOfGroup(ExceptionGroup[Exception]):
    """Reported in place of a group of exceptions."""


def exc_info(exc: BaseException, *, whole: bool = False) -> ExcInfo:
    """Return type, exception and traceback for a log line.

    The traceback starts at the user's function; pass ``whole`` for all of it.
    """
    shown = exc.__traceback__ if whole else from_user(exc.__traceback__)
    if are_texts_withheld():
        double = _double(exc, set(), [])
        return type(double), double, _places(shown)
    known = quotations(exc)
    value = exc if _is_reportable(exc, known) else _double(exc, set(), known)
    kind = type(exc) if _is_named_cleanly(type(exc)) else type(value)
    return kind, value, bounded(shown)


def stacktrace(told: ExcInfo) -> str:
    """Return a traceback as text."""
    return clean(middle_cut("".join(traceback.format_exception(*told)), _MAX_STACKTRACE), 2 * _MAX_STACKTRACE)


def from_record(written: str) -> str:
    """Return a text or a traceback that was written down earlier, by whatever version, as it may be shown now."""
    shown = clean(middle_cut(written, _MAX_STACKTRACE), 2 * _MAX_STACKTRACE)
    return from_user_written(shown)


def text(told: ExcInfo) -> str:
    """Return the text of an exception, as far as it may be reported."""
    return _text(told[1], [])


def _text(exc: BaseException, known: list[Quotation]) -> str:
    if are_texts_withheld():
        return WITHHELD
    try:
        if isinstance(exc, _Double | _DoubleOfGroup):
            return str(exc)
        return in_place_of(exc, known) or _safe(str(exc), known)
    except BaseException:  # noqa: BLE001  its own code runs, and may raise anything
        return _NO_TEXT


def _safe(told: str, known: list[Quotation]) -> str:
    """Return a text that is safe to log, or what replaces it."""
    if are_texts_withheld():
        return WITHHELD
    told = told[: MAX_TEXT + 1]
    return in_place_of_text(told, known) or clean(indented(told))


# --- whether it can be reported as it is ------------------------------------------------------------------------


def _is_reportable(exc: BaseException, known: list[Quotation]) -> bool:
    seen: set[int] = set()
    waiting = [exc]
    while waiting:
        one = waiting.pop()
        # some renderers never finish a cycle
        if id(one) in seen or len(seen) == _MAX_EXCEPTIONS or not _is_harmless(one, known):
            return False
        if one is not exc and not has_few_frames(one.__traceback__):
            return False
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions[:_MAX_EXCEPTIONS]
        behind = _behind(one)
        if behind is not None:
            waiting.append(behind)
    return True


def _is_harmless(exc: BaseException, known: list[Quotation]) -> bool:
    """Return whether every text that a renderer may take from an exception can be written."""
    try:
        if in_place_of(exc, known) is not None or not _is_named_cleanly(type(exc)):
            return False
        notes = getattr(exc, "__notes__", ())
        if len(notes) > _MAX_NOTES:
            return False
        texts: list[Any] = [str(exc), *(f"\n{note}" for note in notes)]  # a note has a line of its own
        if isinstance(exc, SyntaxError):
            texts += [exc.msg, exc.text, exc.filename]
        told = [text for text in texts if isinstance(text, str)]
        hidden = [text for text in exc.args if isinstance(text, str)]  # shown by their repr, if at all
        return all(map(is_clean, told + hidden)) and not any(
            not is_indented(text) or in_place_of_text(text, known) for text in told
        )
    except BaseException:  # noqa: BLE001  its text is not available
        return False


def _is_named_cleanly(cls: type[BaseException]) -> bool:
    return all(clean_name(str(name)) == str(name) for name in (cls.__module__, cls.__qualname__, cls.__name__))


def _behind(exc: BaseException) -> BaseException | None:
    """Return the exception that a traceback shows behind this one: its cause, or else its context."""
    return exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


# --- its double -------------------------------------------------------------------------------------------------


def _double(exc: BaseException, seen: set[int], known: list[Quotation]) -> Exception:
    """Return what to report in place of an exception and of those behind it."""
    seen.add(id(exc))
    members = _members(exc, seen, known) if isinstance(exc, BaseExceptionGroup) else []
    double = _group(exc, members, known) if members else _named_as(exc, _Double)(_text(exc, known))
    double.__traceback__ = _places(from_user(exc.__traceback__))
    for note in _notes(exc, known):
        double.add_note(note)
    behind = _behind(exc)
    if behind is None or id(behind) in seen:
        return double
    if len(seen) >= _MAX_EXCEPTIONS:
        double.add_note(_MORE)
    elif behind is exc.__cause__:
        double.__cause__ = _double(behind, seen, known)
    else:
        double.__context__ = _double(behind, seen, known)
    return double


def _members(group: BaseExceptionGroup[Any], seen: set[int], known: list[Quotation]) -> list[Exception]:
    members: list[Exception] = []
    for member in group.exceptions:
        if len(seen) >= _MAX_EXCEPTIONS:
            break
        if id(member) not in seen:
            members.append(_double(member, seen, known))
    return members


def _group(group: Any, members: list[Exception], known: list[Quotation]) -> Exception:
    double: Exception = _named_as(group, _DoubleOfGroup)(_safe(str(group.message), known), members)
    if len(members) < len(group.exceptions):
        double.add_note(_MORE)
    return double


def _named_as(exc: BaseException, base: type[Any]) -> type[Any]:
    """Return a class of doubles with the name of the exception's class."""
    cls = type(exc)
    names = {"__module__": clean_name(str(cls.__module__)), "__qualname__": clean_name(cls.__qualname__)}
    return type(clean_name(cls.__name__), (base,), names)


def _notes(exc: BaseException, known: list[Quotation]) -> list[str]:
    if are_texts_withheld():
        return []
    try:
        notes = list(getattr(exc, "__notes__", ())[:_MAX_NOTES])
        return [_safe(f"\n{note}", known).removeprefix("\n") for note in notes]
    except BaseException:  # noqa: BLE001  ``__notes__`` may be anything
        return []


def _places(shown: TracebackType | None) -> TracebackType | None:
    """Return as much of a traceback as may be told."""
    return without_values(bounded(shown)) if are_texts_withheld() else bounded(shown)
