"""The context of a task: the current run, its span, and the values it inherits from where it was scheduled.

A task runs in the context of its caller. Values bound where the task was scheduled may be missing there: a ``def``
endpoint binds in a worker thread's copy of the context, FastAPI's own spans detach the baggage attached inside
them when they close, and a dependency unbinds what it bound. Missing values are restored while the task runs.
Values that are already bound when it starts are left alone.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from contextvars import Context, ContextVar, Token, copy_context
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
from structlog import contextvars as structlog_context

from . import semconv
from .model import TaskRun

Value = TypeVar("Value")

_current_run: ContextVar[TaskRun | None] = ContextVar("afterword_run", default=None)

reported_exception: ContextVar[int | None] = ContextVar("afterword_reported", default=None)
"""The identity of an exception that leaves the application after its traceback was logged."""

enter_run = _current_run.set
leave_run = _current_run.reset
run_around = _current_run.get
"""What ``current`` returns, without a call of ours."""


def current() -> TaskRun | None:
    """Return the run that this code is part of: a task, or what it calls; ``None`` outside of any task."""
    return _current_run.get()


def run_in(context: Context) -> TaskRun | None:
    """Return the run that the code of a context is in."""
    return context.get(_current_run)


def leave_destroyed_run(run: TaskRun, token: Token[TaskRun | None]) -> bool:
    """Undo ``enter_run`` for a coroutine that may be being destroyed; return whether this is its own context."""
    return take_back(_current_run, run, token)


def take_back(variable: ContextVar[Value], value: Value, token: Token[Value]) -> bool:
    """Reset a variable if it was set in this context; return whether it was.

    The garbage collector destroys a coroutine in an arbitrary context. A coroutine that raises ``GeneratorExit``
    itself looks the same, but continues in its own context, which must be cleaned up.
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
"""A trace id, a span id, and whether the span is sampled. A link to an unsampled span leads nowhere."""


def hex_ids(context: SpanContext) -> HexIds:
    """Return the ids of a span context; ``None`` for both if it is not valid."""
    # unpack the tuple: each property would be a call; and to format the numbers takes twice as long
    trace_id, span_id, _, flags, _, is_valid = context
    if not is_valid:
        return None, None, False
    return trace_id.to_bytes(16, "big").hex(), span_id.to_bytes(8, "big").hex(), flags & TraceFlags.SAMPLED != 0


def context_of(trace_id: str | None, span_id: str | None, *, sampled: bool) -> otel.Context | None:
    """Return a context with a span of these ids, which may have ended; ``None`` without ids."""
    if trace_id is None or span_id is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    span = NonRecordingSpan(SpanContext(int(trace_id, 16), int(span_id, 16), False, flags))
    return set_span_in_context(span, otel.Context())


def current_ids() -> tuple[str | None, str | None]:
    """Return the ids of the current span."""
    return hex_ids(get_current_span().get_span_context())[:2]


# --- variables that the user binds with structlog, whose table of them is not public ----------------------------

_PREFIX: str = getattr(structlog_context, "STRUCTLOG_KEY_PREFIX", "structlog_")
# all variables ever bound in this process; there are few, so this is cheaper than walking the whole context
_TABLE: dict[str, ContextVar[Any]] | None = getattr(structlog_context, "_CONTEXT_VARS", None)
_OURS = {_PREFIX + key: key for key in semconv.LOG_KEYS}
_NONE: frozenset[str] = frozenset()

BoundVariables = list[tuple[ContextVar[Any], Any]]
"""Variables with their values."""


def bound_variables() -> BoundVariables:
    """Return what is bound here; an unbound variable has the value ``...``."""
    if _TABLE is None:
        found = copy_context().items()
        return [(v, value) for v, value in found if v.name.startswith(_PREFIX) and value is not ...]
    if not _TABLE:
        return []
    known = tuple(_TABLE.values())  # another thread may bind a new one
    return [(variable, value) for variable in known if (value := variable.get(...)) is not ...]


def bound_keys() -> AbstractSet[str]:
    """Return those of our log keys that are bound here; usually none."""
    if _TABLE is None:
        return {_OURS[variable.name] for variable, _ in bound_variables() if variable.name in _OURS}
    if not _TABLE or _TABLE.keys().isdisjoint(_OURS):
        return _NONE
    return {key for name, key in _OURS.items() if name in _TABLE and _TABLE[name].get(...) is not ...}


# --- values that a task inherits --------------------------------------------------------------------------------

# OpenTelemetry keeps all baggage under one key, which is not public
_BAGGAGE = next(iter(baggage.set_baggage("any", "", otel.Context())))
_LOCAL = "suppress_"
"""Prefix of the keys that apply to a block of code, not to the work it does."""


class CapturedContext:
    """The values that were bound when a run was scheduled."""

    __slots__ = ("_otel", "_token", "_tokens", "_variables")

    def __init__(self, context: otel.Context, variables: BoundVariables) -> None:
        self._otel = context
        self._variables = variables
        self._token: Token[otel.Context] | None = None
        self._tokens: list[tuple[ContextVar[Any], Token[Any]]] = []

    def attach_missing(self) -> None:
        """Bind the values that are missing here, until ``detach``."""
        here = otel.get_current()
        if here is not self._otel:
            missing = _missing(here, self._otel)
            if missing:
                self._token = otel.attach(otel.Context({**here, **missing}))
        for variable, value in self._variables:
            if variable.get(...) is ...:
                self._tokens.append((variable, variable.set(value)))

    def attach_all(self) -> None:
        """Bind all values, over current ones, until ``detach``; for a run that ends outside its own context."""
        self._token = otel.attach(self._otel)
        self._tokens = [(variable, variable.set(value)) for variable, value in self._variables]

    def detach(self) -> None:
        """Undo the binding. Call it in the same context."""
        if self._tokens:
            for variable, token in self._tokens:
                variable.reset(token)
        if self._token is not None:
            otel.detach(self._token)


def capture_context() -> CapturedContext | None:
    """Return the values that are bound now; ``None`` if there are none."""
    context = otel.get_current()
    variables = bound_variables()
    return CapturedContext(context, variables) if context or variables else None


def _missing(here: otel.Context, there: otel.Context) -> dict[str, object]:
    """Return the values of ``there`` that ``here`` lacks. Baggage is merged; ``here`` wins."""
    missing = {key: there[key] for key in there if key not in here and not key.startswith(_LOCAL)}
    mine, theirs = here.get(_BAGGAGE), there.get(_BAGGAGE)
    if mine is not theirs and isinstance(mine, dict) and isinstance(theirs, dict) and theirs.keys() - mine.keys():
        missing[_BAGGAGE] = theirs | mine
    return missing
