"""Context that follows a task: OpenTelemetry's with its baggage, and structlog's variables.

A task runs in the context of its caller, which may lack what was bound where the task was scheduled: a ``def``
endpoint binds in a worker thread's copy of the context; FastAPI's own spans, when they close, take along the
baggage that was attached inside them; a dependency unbinds what it bound. What was there then and is missing when
the task starts is put back for as long as it runs. What is there when it starts stays, as it would without us.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import baggage
from opentelemetry import context as otel

from .context_variables import Bound, bound

# OpenTelemetry keeps the whole baggage under one key, and does not tell which
_BAGGAGE = next(iter(baggage.set_baggage("any", "", otel.Context())))
_LOCAL = "suppress_"
"""How the keys begin that speak of a stretch of code, not of what it is done for."""


class Seen:
    """What was bound when a run was scheduled."""

    __slots__ = ("_otel", "_token", "_tokens", "_variables")

    def __init__(self, context: otel.Context, variables: Bound) -> None:
        self._otel = context
        self._variables = variables
        self._token: Token[otel.Context] | None = None
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []

    def enter(self) -> None:
        """Bind what is missing here, until ``leave``."""
        here = otel.get_current()
        if here is not self._otel:
            missing = _missing(here, self._otel)
            if missing:
                self._token = otel.attach(otel.Context({**here, **missing}))
        for variable, value in self._variables:
            if variable.get(...) is ...:
                self._tokens.append((variable, variable.set(value)))

    def enter_instead(self) -> None:
        """Bind it all, over what is bound here, until ``leave``: to tell a run's end out of its context."""
        self._token = otel.attach(self._otel)
        self._tokens = [(variable, variable.set(value)) for variable, value in self._variables]

    def leave(self) -> None:
        """Undo it, in the same context."""
        if self._tokens:
            for variable, token in self._tokens:
                variable.reset(token)
        if self._token is not None:
            otel.detach(self._token)


def seen() -> Seen | None:
    """Return what is bound here and now; ``None`` if that is nothing."""
    context = otel.get_current()
    variables = bound()
    return Seen(context, variables) if context or variables else None


def _missing(here: otel.Context, there: otel.Context) -> dict[str, object]:
    """Return what is there and not here; where the baggage there has more entries, the baggage of both."""
    missing = {key: there[key] for key in there if key not in here and not key.startswith(_LOCAL)}
    mine, theirs = here.get(_BAGGAGE), there.get(_BAGGAGE)
    if mine is not theirs and isinstance(mine, dict) and isinstance(theirs, dict) and theirs.keys() - mine.keys():
        missing[_BAGGAGE] = theirs | mine
    return missing
