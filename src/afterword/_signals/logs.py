"""Structured logs: one line per transition, through structlog as the user has configured it."""

from __future__ import annotations

from logging import DEBUG
from typing import Any, Final

from .._common import semconv
from .._common.context import bound_keys
from .._common.errors.exceptions import exc_info, text
from .._common.errors.validation import findings
from .._common.log import Emitter, free_of_bound
from .._common.model import Outcome, RequestInfo, TaskRun, full_name
from .._common.observer import TaskObserver
from .loop.places import place_raised
from .severity import LEVELS, answered_level, client_error_level, request_level, returned_level

_WITH_TEXT: Final = (Outcome.FAILED, Outcome.DROPPED)
"""Outcomes whose line has the exception's text as a key: ``OperationalError`` means this once and that once."""
_MOST_TEXT: Final = 500


class Logs(TaskObserver):
    """Writes the log events."""

    def __init__(self) -> None:
        self._emitter = Emitter()
        self._client_errors = client_error_level()

    def scheduled(self, run: TaskRun) -> None:
        """Log that a run was scheduled; the next attempt of one is no new run."""
        if self._emitter.least > DEBUG or (run.attempt or 1) > 1:
            return
        line = self._emitter.line("debug")
        if line is not None:
            line(semconv.EVENT_SCHEDULED, **free_of_bound(identity(run)))

    def started(self, run: TaskRun) -> None:
        """Log that a run starts, and how long it waited."""
        if self._emitter.least > DEBUG:
            return
        line = self._emitter.line("debug")
        if line is not None:
            keys = identity(run)
            if run.wait is not None:
                keys[semconv.KEY_WAIT] = int(run.wait * 1e6 + 0.5) / 1e6
            line(semconv.EVENT_STARTED, **free_of_bound(keys))

    def ended(self, run: TaskRun) -> None:
        """Log the outcome, what happened, and what to do about it."""
        outcome = run.outcome or Outcome.ABANDONED
        level, event = LEVELS[outcome], semconv.EVENT_ENDED[outcome]
        line = self._emitter.line(level)
        if line is None:
            return
        keys = _outcome(run)
        told = None
        if run.exception is not None and outcome in _WITH_TEXT:
            told = exc_info(run.exception)
            keys[semconv.KEY_ERROR_TEXT] = text(told)[:_MOST_TEXT]
            if outcome is Outcome.DROPPED and run.request is not None and run.request.status is not None:
                keys[semconv.KEY_STATUS] = run.request.status
        if bound_keys():
            keys = free_of_bound(keys)
        if told is not None and outcome is Outcome.FAILED:
            run._logged = self._emitter.write_traceback(level, event, keys, told)
        else:
            line(event, **keys)

    def returned(self, run: TaskRun) -> None:
        """Log that an attempt of a queue's task did not end it, and why."""
        line = self._emitter.line(returned_level(run))
        if line is not None:
            line(semconv.EVENT_RETURNED, **free_of_bound(_outcome(run)))

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Log a failed request: an error with its traceback, or a quieter line for a client error."""
        level = request_level(info, self._client_errors)
        line = self._emitter.line(level)
        if line is None:
            return
        keys = _of_request(info, exc)
        found = findings(exc)
        if found is not None:
            keys |= {semconv.KEY_ERROR_COUNT: found.total, semconv.KEY_ERRORS: found.places}
        keys = free_of_bound(_known(keys))
        if not info.client_error:
            told = exc_info(exc)
            if semconv.KEY_ERROR_TEXT not in bound_keys():
                keys[semconv.KEY_ERROR_TEXT] = text(told)[:_MOST_TEXT]
            info._logged = self._emitter.write_traceback(level, semconv.EVENT_REQUEST_FAILED, keys, told)
        else:
            line(semconv.EVENT_REQUEST_FAILED, **keys)

    def error_answered(self, info: RequestInfo, exc: BaseException) -> None:
        """Log an error that was answered with a 2xx, and where it was raised."""
        line = self._emitter.line(answered_level(info))
        if line is not None:
            told = exc_info(exc)
            said = {semconv.KEY_ERROR_TEXT: text(told)[:_MOST_TEXT], semconv.KEY_PLACE: place_raised(told[2])}
            line(semconv.EVENT_ERROR_ANSWERED, **free_of_bound(_known(_of_request(info, exc) | said)))


def _of_request(info: RequestInfo, exc: BaseException) -> dict[str, Any]:
    """Return the keys that every line of a request has; what is not known is ``None``."""
    path, client = getattr(info, "_came", (None, None))
    return {
        semconv.KEY_METHOD: info.method,
        semconv.KEY_ROUTE: info.route,
        semconv.KEY_PATH: path,
        semconv.KEY_CLIENT: client,
        semconv.KEY_STATUS: info.status,
        semconv.KEY_ERROR_TYPE: full_name(exc),
        semconv.KEY_REQUEST_ID: info.request_id,
        semconv.KEY_TRACE_ID: info.trace_id,
        semconv.KEY_SPAN_ID: info.span_id,
    }


def _known(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def identity(run: TaskRun) -> dict[str, Any]:
    """Return the keys that every line of a run has, as far as they are known."""
    keys: dict[str, Any] = {semconv.KEY_TASK: run.name, semconv.KEY_TASK_RUN: run.id}
    if run.attempt is not None:
        keys[semconv.KEY_ATTEMPT] = run.attempt
    request = run.request
    if request is not None:
        if request.method is not None:
            keys[semconv.KEY_METHOD] = request.method
        if request.route is not None:
            keys[semconv.KEY_ROUTE] = request.route
        if request.request_id is not None:
            keys[semconv.KEY_REQUEST_ID] = request.request_id
    if run.trace_id is not None:
        keys[semconv.KEY_TRACE_ID] = run.trace_id
        keys[semconv.KEY_SPAN_ID] = run.span_id
    return keys


def _outcome(run: TaskRun) -> dict[str, Any]:
    keys = identity(run)
    # times to the microsecond; ``round`` takes twice as long
    if run.wait is not None:
        keys[semconv.KEY_WAIT] = int(run.wait * 1e6 + 0.5) / 1e6
    if run.thread_wait is not None:
        keys[semconv.KEY_THREAD_WAIT] = int(run.thread_wait * 1e6 + 0.5) / 1e6
    if run.duration is not None:
        keys[semconv.KEY_DURATION] = int(run.duration * 1e6 + 0.5) / 1e6
    if run.reason is not None:
        keys[semconv.KEY_REASON] = str(run.reason)
        if run._stopped_by is not None:
            keys[semconv.KEY_STOPPED_BY] = run._stopped_by
        if run.error_type is not None:
            keys[semconv.KEY_ERROR_TYPE] = run.error_type
        if run.detail is not None and (run.exception is None or not run.started):  # else it says no more
            keys[semconv.KEY_DETAIL] = run.detail
    return keys
