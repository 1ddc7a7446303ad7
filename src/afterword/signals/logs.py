"""Structured logs: one line per transition, through structlog as the user has configured it."""

from __future__ import annotations

from typing import Any

from .. import names
from ..emit import Emitter, free_of_bound
from ..model import Outcome, RequestInfo, TaskObserver, TaskRun, full_name
from .exceptions import MAX_PLACES, exc_info, validation_places
from .severity import LEVELS, request_level


class Logs(TaskObserver):
    """Writes the log events."""

    def __init__(self) -> None:
        self._emitter = Emitter()

    def scheduled(self, run: TaskRun) -> None:
        """Write that the run is scheduled."""
        line = self._emitter.line("debug")
        if line is not None:
            line(names.EVENT_SCHEDULED, **free_of_bound(_identity(run)))

    def started(self, run: TaskRun) -> None:
        """Write that it begins, and how long it waited."""
        line = self._emitter.line("debug")
        if line is not None:
            keys = _identity(run)
            if run.wait is not None:
                keys[names.KEY_WAIT] = _microseconds(run.wait)
            line(names.EVENT_STARTED, **free_of_bound(keys))

    def ended(self, run: TaskRun) -> None:
        """Write the outcome, what happened, and what to do about it."""
        outcome = run.outcome or Outcome.ABANDONED
        line = self._emitter.line(LEVELS[outcome])
        if line is not None:
            line(names.EVENT_ENDED[outcome], **free_of_bound(_outcome(run)))

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Write a failed request: an error with its traceback, or a warning where the client was at fault."""
        level = request_level(info)
        line = self._emitter.line(level)
        if line is None:
            return
        keys: dict[str, Any] = {
            names.KEY_METHOD: info.method,
            names.KEY_ROUTE: info.route,
            names.KEY_STATUS: info.status,
            names.KEY_ERROR_TYPE: full_name(exc),
            names.KEY_REQUEST_ID: info.request_id,
            names.KEY_TRACE_ID: info.trace_id,
            names.KEY_SPAN_ID: info.span_id,
        }
        places = validation_places(exc)
        if places is not None:
            keys |= {names.KEY_ERROR_COUNT: len(places), names.KEY_ERRORS: places[:MAX_PLACES]}
        if level == "error":
            keys["exc_info"] = exc_info(exc, places)
        line(names.EVENT_REQUEST_FAILED, **free_of_bound(_known(keys)))


def _known(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _identity(run: TaskRun) -> dict[str, Any]:
    """Return the keys that every line of a run has, those that are known."""
    keys: dict[str, Any] = {names.KEY_TASK: run.name, names.KEY_TASK_RUN: run.id}
    request = run.request
    if request is not None:
        if request.method is not None:
            keys[names.KEY_METHOD] = request.method
        if request.route is not None:
            keys[names.KEY_ROUTE] = request.route
        if request.request_id is not None:
            keys[names.KEY_REQUEST_ID] = request.request_id
    if run.trace_id is not None:
        keys[names.KEY_TRACE_ID] = run.trace_id
        keys[names.KEY_SPAN_ID] = run.span_id
    return keys


def _outcome(run: TaskRun) -> dict[str, Any]:
    keys = _identity(run)
    keys[names.KEY_OUTCOME] = str(run.outcome)
    if run.wait is not None:
        keys[names.KEY_WAIT] = _microseconds(run.wait)
    if run.thread_wait is not None:
        keys[names.KEY_THREAD_WAIT] = _microseconds(run.thread_wait)
    if run.duration is not None:
        keys[names.KEY_DURATION] = _microseconds(run.duration)
    if run.reason is not None:
        keys[names.KEY_REASON] = str(run.reason)
        if run.error_type is not None:
            keys[names.KEY_ERROR_TYPE] = run.error_type
        if run.exception is not None and run.started:
            if run.outcome is Outcome.FAILED:
                keys["exc_info"] = exc_info(run.exception, validation_places(run.exception))
        elif run.detail is not None:
            keys[names.KEY_DETAIL] = run.detail
    return keys


def _microseconds(seconds: float) -> float:
    """Return a time to the microsecond; ``round`` takes twice as long."""
    return int(seconds * 1e6 + 0.5) / 1e6
