"""Where a task runs: its span is open and its context bound from prerun to postrun, and its line written there.

In a child of a prefork pool the main process counts. An eager task has nobody but its caller's process, and is
counted there. An end that has no state here (a killed child, a time limit, terminate) is told by the main process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
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
_NESTING: Final = "replaced_task_nesting"


class _Attempt:
    """An attempt that is open in this process."""

    __slots__ = ("bound", "eager", "handled", "is_first", "known", "next", "outer", "run", "token")

    def __init__(self, known: CeleryInstrumentation, run: TaskRun, eager: bool) -> None:
        self.known = known
        self.run = run
        self.eager = eager
        self.is_first = True
        """Whether it begins its task, of one that is eager."""
        self.next: TaskRun | None = None
        """The next attempt of its task, once that is published."""
        self.outer: Token[otel.Context] | None = None
        self.token: Token[TaskRun | None] | None = None
        self.bound: Any = None
        self.handled = sys.exc_info()[1]
        """The exception that was being handled when the attempt began: none of its own."""


_open: dict[int, _Attempt] = {}
"""By the identity of the request's context, which Celery keeps until after postrun."""
_tried_again: ContextVar[Any] = ContextVar("afterword_tried_again", default=None)
_eager_again: ContextVar[str | None] = ContextVar("afterword_eager_again", default=None)
"""The id of the eager task that Celery is about to try again."""


def is_next(app: Any, said: headers.Headers) -> bool:
    """Return whether a message is the next attempt of what runs here, and so no task of its own."""
    if not said.get("retries"):
        return False
    task = app.current_worker_task
    request = _tried_again.get() if task is None else task.request
    if request is None or request.id != said.get("id"):
        return False
    return bool((said.get(_NESTING) or 0) == (request.replaced_task_nesting or 0))  # else it replaces that task


@contextmanager
def trying_again(request: Any) -> Iterator[None]:
    """Say whose next attempt the main process publishes, whose child was lost."""
    token = _tried_again.set(request)
    try:
        yield
    finally:
        _tried_again.reset(token)


def has_next(app: Any, run: TaskRun) -> None:
    """Note that the next attempt of what runs here is with the broker."""
    task = app.current_worker_task
    attempt = None if task is None else _open.get(id(task.request))
    if attempt is not None:
        attempt.next = run


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
    delivered = request.delivery_info or {}
    attempt = _Attempt(known, run, bool(delivered.get("is_eager")))  # what a worker received may say anything else
    _open[id(request)] = attempt
    run._destination = headers.queue(delivered.get("routing_key"))
    if attempt.eager:
        run.request = known.current_request()
        run._system = None
        attempt.is_first = run.attempt == 1 or _eager_again.get() != request.id
        if attempt.is_first:
            run.scheduled_at = time()
            run.wait = 0.0
        _eagerly(attempt, "publish")
        _eagerly(attempt, "begin")
    else:
        said = headers.said_of(said)
        run._around = headers.remote_context(said)
        if run.attempt == 1 and run.scheduled_at and not delivered.get("redelivered"):
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
            _eager_again.set(task.request.id if end.outcome is None else None)
            _eagerly(attempt, "end", end)
            run.outcome = run.reason = None
        outcome, reason, detail, exc = end
        run.exception = exc
        if outcome is not None and attempt.next is not None:  # it has not let its Retry out, and has two ends
            pipe.count(known, pipe.PUBLISH, attempt.next)
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
    end = _judged_by_state(attempt, task, state, retval)
    if attempt.eager and end is not None and end.outcome is None:
        comes_again = state == "RETRY" and getattr(retval, "sig", None) is not None
        return end if comes_again else judgement.not_again(end, retval if state is not None else sys.exc_info()[1])
    return end


def _judged_by_state(attempt: _Attempt, task: Any, state: Any, retval: Any) -> End | None:
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
    # a hook or the result backend raised: that is an error like any other, unless it ends the process
    is_told = exc is not None and (attempt.eager or isinstance(exc, Exception))
    return judgement.raised(exc, task) if is_told else None


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
            run.outcome, run.reason, run.detail, exc = end
            pipe.count(known, pipe.EAGER if attempt.is_first else pipe.EAGER_AGAIN, run, exc=exc)
            if run.outcome is Outcome.FAILED:
                tellers.call_back(known, run, exc)
    elif what == "publish":
        if attempt.is_first:
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
