"""Decides that a run will never start, and why: what became of its request, and what may still call it."""

from __future__ import annotations

from .._common.model import Outcome, Reason, TaskRun, full_name
from .._ledger.deferred import defer, drain, nothing_deferred
from .._ledger.runs import is_pending
from .holders import is_held_elsewhere, was_removed
from .http_route import locate
from .request_errors import is_cancellation, report
from .state import (
    CANCELLED,
    DISCONNECTED,
    FailureSummary,
    RequestFailure,
    RequestState,
    TaskRecord,
    find_task,
    forget_task,
)

# --- the end of a request --------------------------------------------------------------------------------------


def settle(request: RequestState) -> None:
    """End the request: every run that nothing will call any more gets its outcome."""
    if request.settled:
        return
    if not nothing_deferred():
        drain()
    request.settled = True
    if request.runs or request.failures:
        _settle_runs(request)
    if not request.inside:
        request.scope = request.app = None
    if request.parent is not None:
        request.parent = None
    if request.lost_client is not None:
        request.lost_client = None
    if request.reported_inside or request.alerts:
        request.reported_inside = request.alerts = ()
    if request.task_told is not None:
        request.task_told = None


def settle_rest(request: RequestState) -> None:
    """End what a middleware has let go on after its answer, as soon as that has come to its end."""
    if request.over:
        if request.runs or request.failures:
            _settle_runs(request)
        request.scope = request.app = None


def _settle_runs(request: RequestState) -> None:
    locate(request)
    for failure in request.failures:
        report(request, failure)
        if not request.inside:
            failure.tasks_to_rerun = []
    for run, record in request.runs.copy().items():  # a thread may schedule more
        if is_pending(run):
            judge_unstarted(request, run, record)
    if not request.inside:
        request.runs.clear()
        for failure in request.failures:
            failure.reached = failure.traceback = None
        request.failures = ()
    drain()


# --- when it is judged ------------------------------------------------------------------------------------------


def on_task_collected(record: TaskRecord) -> None:
    """Note that a task object is gone. A weak reference calls this, so the judgement is only deferred."""
    if find_task(record.key) is record:  # else it was made for one call only
        forget_task(record.key, None)
    run = record.run
    if run is not None and run.outcome is None:
        if record.batch is not None and record.batch() is not None:
            record.removed = True  # otherwise the batch would hold it
        defer(_judge_collected, run, record)


def _judge_collected(run: TaskRun, record: TaskRecord) -> None:
    """Give up the run of a task object that is gone, if it never started: nothing can call it any more."""
    request = record.request
    if not is_pending(run):
        return
    if request.over or run not in request.runs or request.kind == "websocket" or _shows_why(request, record):
        give_up(request, run, record)
    # otherwise wait for the end of the request: if it fails, that is the better reason


def _shows_why(request: RequestState, record: TaskRecord) -> bool:
    """Return whether the request has come far enough to say why a task will never be called.

    An injected task was replaced if another one runs after the response; that may take a while to show.
    """
    if record.removed:
        return True
    injected = record.batch is not None and record.batch.injected
    return request.background_ran if injected else request.started


def judge_unstarted(request: RequestState, run: TaskRun, record: TaskRecord) -> None:
    """Judge a run that is still pending when its request ends. Give it up only if nothing can call it any more.

    Otherwise it stays pending, and is given up when its task object is collected.
    """
    if record() is not None and _may_be_called(request, record):
        if isinstance(record.failure, RequestFailure):
            record.failure = FailureSummary(record.failure)
    else:
        give_up(request, run, record)


def _may_be_called(request: RequestState, record: TaskRecord) -> bool:
    batch = record.batch
    if request.inside or (batch is not None and batch.called and not batch.finished):
        return True  # the endpoint goes on behind a middleware's answer, or other code is running the batch
    if record.failure is not None:
        return isinstance(record.failure, FailureSummary) or is_held_elsewhere(record, record.failure)
    if was_removed(record):
        return True
    return not record.on_error_response and (batch is None or not batch.finished)


def give_up(request: RequestState, run: TaskRun, record: TaskRecord) -> None:
    """End a run that nothing will ever call, with the best reason there is."""
    if record.failure is not None:
        _drop(request, run, record, record.failure)
        record.failure = None  # its exception is not kept
    else:
        outcome, reason, detail = _why(request, record)
        if outcome is Outcome.SKIPPED and record.batch is not None and record.batch.failed is not None:
            run._stopped_by = record.batch.failed.name
        request.instrumentation.ledger.end_unstarted(run, outcome, reason, detail)
    request.runs.pop(run, None)


def _drop(
    request: RequestState, run: TaskRun, record: TaskRecord, failure: RequestFailure | FailureSummary
) -> None:
    if isinstance(failure, RequestFailure):
        failure.dropped = True
    run.error_type = failure.error_type
    reason = Reason.REQUEST_FAILED
    if failure.kind == DISCONNECTED:
        reason = Reason.CLIENT_DISCONNECTED
        detail = "the client disconnected before the task could start; do what must be done before you respond"
    else:
        detail = f"{_how_it_ended(request, failure)}; {_what_to_do(request, record, failure)}"
    request.instrumentation.ledger.end_unstarted(run, Outcome.DROPPED, reason, detail, failure.exc)


def _how_it_ended(request: RequestState, failure: RequestFailure | FailureSummary) -> str:
    """Say how far the response had come when the error was raised."""
    name = failure.error_type
    if failure.kind == CANCELLED:
        return "the request was cancelled before the task could start"
    if request.kind == "websocket":
        return f"the WebSocket raised {name} before the task could start"
    if failure.broke_off:
        return f"the response broke off with {name}, and tasks run only after a complete response"
    if failure.before_response:
        return f"the request raised {name}, so the response that would run the task was never built"
    return f"the request raised {name} after its response was sent, and that response did not run the task"


def _what_to_do(request: RequestState, record: TaskRecord, failure: RequestFailure | FailureSummary) -> str:
    """Say what to do about an error, or why what was done already did not help."""
    if record.marked is None:
        return "nothing held the task any more, so nothing could run it; attach it to the response"
    if record.marked and failure.before_response and request.failed_at is None:
        return "it is marked to run on a request error, but a later attempt had a response of its own"
    if failure.kind == CANCELLED:
        if record.marked:
            how = "it is marked to run on a request error, but there was no response to run it after"
        else:
            how = "if a timeout cancelled it and is answered, @task(run_on_request_error=True) runs it anyway"
        return f"{how}; if it was the server's shutdown, give the server a longer grace period"
    if record.marked:
        return "it is marked to run on a request error, but the request was over before it could be called"
    return "to run it anyway, decorate it with @task(run_on_request_error=True)"


def _why(request: RequestState, record: TaskRecord) -> tuple[Outcome, Reason, str]:
    batch = record.batch
    if was_removed(record):
        return (
            Outcome.ABANDONED,
            Reason.REMOVED,
            "it was removed from its BackgroundTasks, and nothing else called it; if it must run, leave it there; "
            "if not, add it only once you are sure",
        )
    if batch is not None and batch.failed is not None:
        return Outcome.SKIPPED, *why_skipped(batch.failed)
    if batch is not None and batch.called and not batch.finished:
        return Outcome.SKIPPED, *why_skipped(None)
    if batch is not None and batch.finished:
        return (
            Outcome.ABANDONED,
            Reason.ADDED_TOO_LATE,
            "it was added after its batch had run, for example in the exit of a yield dependency; add it before "
            "you return the response",
        )
    if request.kind == "websocket" and batch is not None and batch.injected:
        return (
            Outcome.ABANDONED,
            Reason.WEBSOCKET,
            "FastAPI runs no background tasks behind a WebSocket; await the function, or start a task for it",
        )
    if record.on_error_response:
        return (
            Outcome.ABANDONED,
            Reason.RESPONSE_REPLACED,
            "the error response that carried it was never sent, because another response had already begun",
        )
    if batch is not None and batch.injected:
        return _why_injected(request)
    return (
        Outcome.ABANDONED,
        Reason.NEVER_ATTACHED,
        "no response that was sent carried it; return Response(..., background=tasks), or take BackgroundTasks "
        "as a parameter of the endpoint",
    )


def _why_injected(request: RequestState) -> tuple[Outcome, Reason, str]:
    if request.background_ran:
        return (
            Outcome.ABANDONED,
            Reason.RESPONSE_REPLACED,
            "the endpoint returned a response with its own background, which replaces the injected tasks; pass "
            "the injected BackgroundTasks as that response's background, or add all tasks to it",
        )
    return (
        Outcome.ABANDONED,
        Reason.UNKNOWN,
        "the request ended without running it; something between the endpoint and the response (a custom route "
        "class, a decorator) responded instead",
    )


def why_skipped(stopped_by: TaskRun | None, exc: BaseException | None = None) -> tuple[Reason, str]:
    """Say why the rest of a batch was skipped: because of a run, an error, or the batch's destruction."""
    culprit = "an earlier member of its batch" if stopped_by is None else stopped_by.name
    if stopped_by is not None:
        was_cancelled = stopped_by.outcome is Outcome.CANCELLED
        error = stopped_by.error_type
    else:
        was_cancelled = exc is None or is_cancellation(exc)
        error = full_name(exc)
    if was_cancelled:
        return (
            Reason.EARLIER_TASK_CANCELLED,
            f"{culprit} was cancelled before it, usually by the server's shutdown; give the server a longer grace "
            "period, make that task shorter, or put this one first",
        )
    return (
        Reason.EARLIER_TASK_FAILED,
        f"{culprit} failed before it with {error}; a batch stops at its first error: catch it in that task, "
        "decorate that with @task(isolated=True), or put this one first",
    )
