"""Describes a validation error: what is wrong and where, but never the input.

Names in a location may come from the client: dictionary keys, fields that the model does not have. Only names that
the application has declared are shown; any other becomes an asterisk.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

MAX_PLACES: Final = 20
"""Locations of a validation error that are shown; a request body may cause any number of them."""
_MAX_DEPTH: Final = 10
_MAX_INDEX: Final = 100_000  # anything larger is not a list index, but may be a key
_MAX_LISTED: Final = 1000  # pydantic builds a dictionary for every error before you can read the first
_MAX_NAMES: Final = 20_000
_UNKNOWN: Final = "*"
_TYPE: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")

# exceptions whose own text quotes the input, by package and class name
_QUOTING: Final = frozenset(
    {
        ("fastapi", "RequestValidationError"),
        ("fastapi", "ResponseValidationError"),
        ("fastapi", "ValidationException"),
        ("fastapi", "WebSocketRequestValidationError"),
        ("jsonschema", "ValidationError"),
        ("marshmallow", "ValidationError"),
        ("msgspec", "ValidationError"),
        ("pydantic", "ValidationError"),
        ("pydantic_core", "ValidationError"),
    }
)

# FastAPI's names for the parts of a request, pydantic's for the members of a union and for a dictionary's keys
_names: Final = {
    *("body", "cookie", "header", "path", "query", "response"),
    *("[key]", "bool", "bytes", "date", "datetime", "decimal", "dict", "float", "int", "list", "none", "str"),
}
_models: weakref.WeakSet[type] = weakref.WeakSet()


class Findings(NamedTuple):
    """The errors inside a validation error."""

    total: int
    """How many errors there are."""
    places: list[str]
    """The first of them, each with its location and type: ``body.lines.3.price: greater_than``."""

    def __str__(self) -> str:
        told = "; ".join(self.places)
        untold = self.total - len(self.places)
        if not untold:
            return told
        return f"{told}; and {untold} more" if told else f"{self.total} errors"


def quotes_input(exc: BaseException) -> bool:
    """Return whether the text of an exception is known to quote the input."""
    # check every base class: an application may subclass FastAPI's
    own = ((str(cls.__module__).partition(".")[0], cls.__name__) for cls in type(exc).__mro__)
    return not _QUOTING.isdisjoint(own) or findings(exc) is not None


def findings(exc: BaseException) -> Findings | None:
    """Return the findings of a validation error; ``None`` for any other exception, or if it cannot be read."""
    try:
        listed = _listed(exc)
        return None if listed is None else Findings(listed[0], _places(listed[1]))
    except BaseException:  # noqa: BLE001  another library's ValidationError
        return None


def messages(exc: BaseException) -> list[str]:
    """Return the messages of a validation error. The user's validators may quote the input in them."""
    try:
        listed = _listed(exc)
        return [] if listed is None else [str(error["msg"]) for error in listed[1][:_MAX_LISTED]]
    except BaseException:  # noqa: BLE001  another library's ValidationError
        return []


def _listed(exc: BaseException) -> tuple[int, Any] | None:
    """Return the number of errors in a validation error, and the errors, unless there are too many to build."""
    if not any(cls.__name__.endswith("ValidationError") for cls in type(exc).__mro__):
        return None
    errors: Callable[..., Any] | None = getattr(exc, "errors", None)
    if not callable(errors):
        return None
    count: Callable[..., Any] | None = getattr(exc, "error_count", None)
    if callable(count):  # pydantic 2
        number = int(count())
        return number, errors(include_url=False) if number <= _MAX_LISTED else []
    found = errors()
    return len(found), found


def learn_parameters(asgi: Any) -> None:
    """Record the parameters that a request's route and its dependencies declare."""
    route = asgi.get("route")
    context = asgi.get("fastapi", {}).get("effective_route_context")  # FastAPI >= 0.137, included routers
    for holder in (route, context):
        dependant = getattr(holder, "dependant", None)
        if dependant is not None:
            _learn(_parameters(dependant, _MAX_DEPTH))


def _parameters(dependant: Any, depth: int) -> Iterator[Any]:
    for kind in ("path", "query", "header", "cookie", "body"):
        for field in getattr(dependant, f"{kind}_params", ()):
            yield from (getattr(field, attribute, None) for attribute in ("name", "alias", "validation_alias"))
    if depth:
        for below in getattr(dependant, "dependencies", ()):
            yield from _parameters(below, depth - 1)


def _places(errors: Any) -> list[str]:
    return [_place(error) for error in errors[:MAX_PLACES]]


def _place(error: Any) -> str:
    location, kind = tuple(error["loc"]), str(error["type"])
    parts = [_part(part) for part in location[:_MAX_DEPTH]]
    if len(location) > _MAX_DEPTH:
        parts.append("...")
    return f"{'.'.join(parts)}: {kind if _TYPE.fullmatch(kind) else _UNKNOWN}"


def _part(part: Any) -> str:
    if type(part) is int:
        return str(part) if 0 <= part < _MAX_INDEX else _UNKNOWN
    return part if type(part) is str and _is_declared(part) else _UNKNOWN


def _is_declared(name: str) -> bool:
    if name not in _names:
        _learn_models()
    return name in _names


def _learn_models() -> None:
    """Record the fields of every pydantic model that is new in this process."""
    base = getattr(sys.modules.get("pydantic"), "BaseModel", None)
    waiting, seen = [base] if base is not None else [], set()
    while waiting:
        for model in type.__subclasses__(waiting.pop()):
            if model in seen:  # through another base class
                continue
            seen.add(model)
            waiting.append(model)
            if model not in _models:
                _models.add(model)
                _learn(_fields(model))


def _fields(model: Any) -> Iterator[Any]:
    yield model.__name__  # pydantic's name for a model in a union
    for name, field in getattr(model, "model_fields", {}).items():
        yield name
        yield getattr(field, "alias", None)
        yield getattr(field, "validation_alias", None)


def _learn(names: Iterable[Any]) -> None:
    for name in names:
        if isinstance(name, str):
            if len(_names) < _MAX_NAMES and len(name) <= 100:
                _names.add(name)
        elif name is not None:  # pydantic's AliasChoices, and AliasPath
            _learn(getattr(name, "choices", ()))
            _learn(part for part in getattr(name, "path", ()) if isinstance(part, str))
