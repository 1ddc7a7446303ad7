"""Where a task runs: its span is open and its context bound from prerun to postrun, and its line written there.

In a child of a prefork pool the main process counts. An eager task has nobody but its caller's process, and is
counted there. An end that has no state here (a killed child, a time limit, terminate) is told by the main process.
"""

from __future__ import annotations

import sys
from contextvars import Token
from time import time
from typing import Any, Final

import structlog
from opentelemetry import context as otel

from .._common.context import bound_variables, enter_run, leave_run
from .._common.model import Outcome, Reason, TaskRun
from . import headers, judgement, pipe, redelivery, tellers
from .instrumentation import CeleryInstrumentation, find
from .judgement import End

RECEIVED: Final = "afterword_received"
"""When the worker's main process received a message whose visibility is limited, and that limit."""


class _Attempt:
    """An attempt that is open in this process."""

    __slots__ = ("bound", "eager", "handled", "known", "outer", "run", "token")

    def __init__(self, known: CeleryInstrumentation, run: TaskRun, eager: bool) -> None:
        self.known = known
        self.run = run
        self.eager = eager
        self.outer: Token[otel.Context] | None = None
        self.token: Token[TaskRun | None] | None = None
        self.bound: Any = None
        self.handled = sys.exc_info()[1]
        """The exception that was being handled when the attempt began: none of its own."""


_open: dict[int, _Attempt] = {}
"""By the identity of the request's context, which Celery keeps until after postrun."""


def prerun(sender: Any = None, task: Any = None, **more: Any) -> None:
    """Receive ``task_prerun``."""
    task = task if task is not None else sender
    known = find(getattr(task, "app", None))
    if known is not None:
        known.failsafe("the beginning of a task", _begin, known, task)


def postrun(sender: Any = None, task: Any = None, retval: Any = None, state: Any = None, **more: Any) -> None:
    """Receive ``task_postrun``."""
    task = task if task is not None else sender
    attempt = _open.pop(id(task.request), None)
    if attempt is not None:
        attempt.known.failsafe("the end of a task", _end, attempt, task, state, retval)


def _begin(known: CeleryInstrumentation, task: Any) -> None:
    request = task.request
    said = vars(request)  # Celery keeps what the message said as attributes of the request's context
    run = known.run_of(task.app, task.name, said)
    attempt = _Attempt(known, run, bool(request.is_eager))
    _open[id(request)] = attempt
    run._destination = (request.delivery_info or {}).get("routing_key")
    if attempt.eager:
        run.request = known.current_request()
        run._system = None
        if run.attempt == 1:
            run.scheduled_at = time()
            run.wait = 0.0
        _eagerly(attempt, "publish")
        _eagerly(attempt, "begin")
    else:
        run._around = headers.remote_context(said)
        if run.attempt == 1 and run.scheduled_at and not (request.delivery_info or {}).get("redelivered"):
            run.wait = max(0.0, time() - max(run.scheduled_at, redelivery.due(request.eta)))
    attempt.bound = _bind(headers.bound_by(said))
    attempt.outer = otel.attach(otel.get_current())
    started_at, run.started_at = run.started_at, None  # of an eager task, the books have begun it already
    known.teller.begin(run)
    run.started_at = started_at or run.started_at
    attempt.token = enter_run(run)


def _bind(variables: dict[str, Any]) -> Any:
    """Bind what was bound where the task was published, without what is bound here already."""
    if not variables:
        return None
    here = {variable.name.removeprefix("structlog_") for variable, _ in bound_variables()}
    missing = {key: value for key, value in variables.items() if key not in here}
    return structlog.contextvars.bind_contextvars(**missing) if missing else None


def _end(attempt: _Attempt, task: Any, state: Any, retval: Any) -> None:
    known, run = attempt.known, attempt.run
    end = _judged(attempt, task, state, retval)
    try:
        if end is None:  # the main process tells
            known.teller.hand_over(run)
            return
        if known.failsafe("asking the broker", _is_taken_away, attempt, task):
            end = judgement.given_back(Reason.TAKEN_AWAY, judgement.TAKEN_AWAY)
        if attempt.eager:
            _eagerly(attempt, "end", end)
            run.outcome = run.reason = None
        outcome, reason, detail, exc = end
        run.exception = exc
        if outcome is None:
            known.teller.give_back(run, reason or Reason.REQUEUED, detail or "", exc)
        else:
            known.teller.close(run, outcome, reason, detail, exc)
    finally:
        run.exception = None
        if attempt.token is not None:
            leave_run(attempt.token)
        if attempt.outer is not None:
            otel.detach(attempt.outer)
        attempt.handled = None
        if attempt.bound:
            structlog.contextvars.reset_contextvars(**attempt.bound)


def _judged(attempt: _Attempt, task: Any, state: Any, retval: Any) -> End | None:
    """Return how an attempt ended; ``None`` if only the main process knows."""
    exc = sys.exc_info()[1]  # Celery calls us while it leaves the tracer, perhaps by an exception
    if exc is attempt.handled:
        exc = None
    if state == "SUCCESS" and exc is not None:  # its result could not be stored, or a callback not be published
        return judgement.raised(exc, task) if isinstance(exc, Exception) else None
    if state == "SUCCESS":
        return judgement.returned_value(retval)
    if state in ("FAILURE", "RETRY", "REJECTED"):
        return judgement.raised(retval, task)
    if state == "IGNORED":
        return judgement.ignored(retval, task)
    return judgement.raised(exc, task) if attempt.eager and exc is not None else None


def _is_taken_away(attempt: _Attempt, task: Any) -> bool:
    """Return whether Redis has given the message away meanwhile, as the main process finds in a moment, too."""
    request = task.request
    said = getattr(request, RECEIVED, None)
    if attempt.eager or not task.acks_late or not isinstance(said, list | tuple) or len(said) != 2:
        return False
    received_at, limit = said
    if not redelivery.may_be_taken(received_at, limit, request.delivery_info):
        return False
    with redelivery.briefly_connected(task.app) as connection:
        return not redelivery.is_there(connection.default_channel, request.properties["delivery_tag"])


def _eagerly(attempt: _Attempt, what: str, end: End | None = None) -> None:
    """Count an eager task in its caller's process, or at its end in the main process."""
    known, run, books = attempt.known, attempt.run, attempt.known.books
    if pipe.in_child():
        if end is not None:
            run.outcome, run.reason, run.detail, _ = end
            pipe.count(known, pipe.EAGER, run)
    elif what == "publish":
        if run.attempt == 1:
            books.publish(run)
    elif what == "begin":
        books.begin(run)
    elif end is not None:
        outcome, reason, detail, exc = end
        if outcome is None:
            books.give_back(run, reason or Reason.RETRY, detail or "", exc)
        else:
            books.close(run, outcome, reason, detail, exc)
            if outcome is Outcome.FAILED:
                tellers.call_back(known, run, exc)
