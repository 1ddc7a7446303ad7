"""Context variables of a coroutine that is being destroyed, perhaps in another context than the one it ran in."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TypeVar

Value = TypeVar("Value")


def take_back(variable: ContextVar[Value], value: Value, token: Token[Value]) -> bool:
    """Undo the setting of a variable, if it was set in this very context; return whether that is so.

    The garbage collector destroys a coroutine in whatever context it comes upon. One that raises ``GeneratorExit``
    by itself looks the same, but goes on in its own context, where nothing may be left behind.
    """
    if variable.get(None) is not value:
        return False
    try:
        variable.reset(token)
    except ValueError:  # this is a copy of that context
        return False
    return True
