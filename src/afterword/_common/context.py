"""The context of a task: which run the code is in, its span, and what follows it from where it was scheduled.

A task runs in the context of its caller, which may lack what was bound where the task was scheduled: a ``def``
endpoint binds in a worker thread's copy of the context; FastAPI's own spans, when they close, take along the
baggage that was attached inside them; a dependency unbinds what it bound. What was there then and is missing when
the task starts is put back for as long as it runs. What is there when it starts stays, as it would without us.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, Token
from typing import Any, TypeVar

from opentelemetry import baggage
from opentelemetry import context as otel
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from .model import TaskRun
from .structlog_variables import Bound, bound

Value = TypeVar("Value")

_current_run: ContextVar[TaskRun | None] = ContextVar("afterword_run", default=None)

reported_exception: ContextVar[int | None] = ContextVar("afterword_reported", default=None)
"""The identity of an exception that leaves the application after a line with its traceback went out."""

current_run = _current_run.get
enter_run = _current_run.set
leave_run = _current_run.reset


def run_in(context: Context) -> TaskRun | None:
    """Return the run that the code of a context is in."""
    return context.get(_current_run)


def leave_destroyed_run(run: TaskRun, token: Token[TaskRun | None]) -> bool:
    """Undo ``enter_run`` for a coroutine that may be being destroyed; return whether this is its context."""
    return take_back(_current_run, run, token)


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


# --- spans, by the ids that logs and exemplars carry as text ----------------------------------------------------

HexIds = tuple[str, str, bool] | tuple[None, None, bool]
"""A trace id, a span id, and whether the span is sampled, so that a link to it leads to something."""


def hex_ids(context: SpanContext) -> HexIds:
    """Return what a span context says; no ids if it is not valid."""
    # a span context is a tuple, whose five properties would be five calls
    trace_id, span_id, _, flags = context[:4]
    if not (trace_id and span_id):
        return None, None, False
    return f"{trace_id:032x}", f"{span_id:016x}", bool(flags & TraceFlags.SAMPLED)


def context_of(trace_id: str | None, span_id: str | None, *, sampled: bool) -> otel.Context | None:
    """Return a context with a span of these ids, which is over or is not current here; ``None`` without ids."""
    if trace_id is None or span_id is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    span = NonRecordingSpan(SpanContext(int(trace_id, 16), int(span_id, 16), False, flags))
    return set_span_in_context(span, otel.Context())


def current_ids() -> tuple[str | None, str | None]:
    """Return the ids of the span that is current here."""
    return hex_ids(get_current_span().get_span_context())[:2]


# --- what follows a task ----------------------------------------------------------------------------------------

# OpenTelemetry keeps the whole baggage under one key, and does not tell which
_BAGGAGE = next(iter(baggage.set_baggage("any", "", otel.Context())))
_LOCAL = "suppress_"
"""How the keys begin that speak of a stretch of code, not of what it is done for."""


class CapturedContext:
    """What was bound when a run was scheduled."""

    __slots__ = ("_otel", "_token", "_tokens", "_variables")

    def __init__(self, context: otel.Context, variables: Bound) -> None:
        self._otel = context
        self._variables = variables
        self._token: Token[otel.Context] | None = None
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []

    def attach_missing(self) -> None:
        """Bind what is missing here, until ``detach``."""
        here = otel.get_current()
        if here is not self._otel:
            missing = _missing(here, self._otel)
            if missing:
                self._token = otel.attach(otel.Context({**here, **missing}))
        for variable, value in self._variables:
            if variable.get(...) is ...:
                self._tokens.append((variable, variable.set(value)))

    def attach_all(self) -> None:
        """Bind it all, over what is bound here, until ``detach``: to tell a run's end out of its context."""
        self._token = otel.attach(self._otel)
        self._tokens = [(variable, variable.set(value)) for variable, value in self._variables]

    def detach(self) -> None:
        """Undo it, in the same context."""
        if self._tokens:
            for variable, token in self._tokens:
                variable.reset(token)
        if self._token is not None:
            otel.detach(self._token)


def capture_context() -> CapturedContext | None:
    """Return what is bound here and now; ``None`` if that is nothing."""
    context = otel.get_current()
    variables = bound()
    return CapturedContext(context, variables) if context or variables else None


def _missing(here: otel.Context, there: otel.Context) -> dict[str, object]:
    """Return what is there and not here; where the baggage there has more entries, the baggage of both."""
    missing = {key: there[key] for key in there if key not in here and not key.startswith(_LOCAL)}
    mine, theirs = here.get(_BAGGAGE), there.get(_BAGGAGE)
    if mine is not theirs and isinstance(mine, dict) and isinstance(theirs, dict) and theirs.keys() - mine.keys():
        missing[_BAGGAGE] = theirs | mine
    return missing
