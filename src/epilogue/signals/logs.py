"""Structured logs: one line per transition, through structlog as the user has configured it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from typing import Any

from structlog import contextvars as structlog_context

from .. import names
from ..emit import emit
from ..model import Outcome, RequestInfo, TaskObserver, TaskRun, full_name

_LEVELS = {
    Outcome.SUCCEEDED: "info",
    Outcome.FAILED: "error",
    Outcome.CANCELLED: "warning",
    Outcome.SKIPPED: "warning",
    Outcome.DROPPED: "warning",
    Outcome.ABANDONED: "warning",
}


class Logs(TaskObserver):
    """Writes the log events, and carries structlog's context variables from a ``def`` endpoint to its tasks."""

    def __init__(self) -> None:
        self._carried: dict[TaskRun, Mapping[str, Any]] = {}
        self._bound: dict[TaskRun, Mapping[str, Token[Any]]] = {}

    def scheduled(self, run: TaskRun) -> None:
        """Keep the variables that were bound in a worker thread: upstream loses them with the thread's context."""
        if asyncio._get_running_loop() is None:
            variables = structlog_context.get_contextvars()
            if variables:
                self._carried[run] = variables
        emit("debug", names.EVENT_SCHEDULED, _identity(run))

    def started(self, run: TaskRun) -> None:
        """Bind what is missing in the task's context."""
        carried = self._carried.pop(run, None)
        if carried:
            here = structlog_context.get_contextvars()
            missing = {key: value for key, value in carried.items() if key not in here}
            if missing:
                self._bound[run] = structlog_context.bind_contextvars(**missing)
        emit("debug", names.EVENT_STARTED, _identity(run) | {names.KEY_WAIT: _seconds(run.wait)})

    def ended(self, run: TaskRun) -> None:
        """Write the outcome, what happened, and what to do about it."""
        outcome = run.outcome or Outcome.ABANDONED
        carried = self._carried.pop(run, None)
        keys = _identity(run) | {
            names.KEY_OUTCOME: str(outcome),
            names.KEY_WAIT: _seconds(run.wait),
            names.KEY_THREAD_WAIT: _seconds(run.thread_wait),
            names.KEY_DURATION: _seconds(run.duration),
            names.KEY_REASON: run.reason and str(run.reason),
            names.KEY_ERROR_TYPE: run.error_type,
            names.KEY_DETAIL: run.detail if run.exception is None or not run.started else None,
        }
        if outcome is Outcome.FAILED and run.exception is not None:
            keys["exc_info"] = _exc_info(run.exception)
        with structlog_context.bound_contextvars(**(carried or {})):
            emit(_LEVELS[outcome], names.EVENT_ENDED_PREFIX + outcome, keys)
        bound = self._bound.pop(run, None)
        if bound and not run.torn_down:
            structlog_context.reset_contextvars(**bound)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Write a failed request: an error with its traceback, or a warning where the client was at fault."""
        keys: dict[str, Any] = {
            names.KEY_METHOD: info.method,
            names.KEY_ROUTE: info.route,
            names.KEY_STATUS: info.status,
            names.KEY_ERROR_TYPE: full_name(exc),
            names.KEY_REQUEST_ID: info.request_id,
            names.KEY_TRACE_ID: info.trace_id,
            names.KEY_SPAN_ID: info.span_id,
        }
        places = _validation_places(exc)
        if places is not None:
            keys[names.KEY_ERROR_COUNT] = len(places)
            keys[names.KEY_ERRORS] = places[:20]
        if info.status is not None and 400 <= info.status < 500:
            emit("warning", names.EVENT_REQUEST_FAILED, keys)
        else:
            keys["exc_info"] = _exc_info(exc, places)
            emit("error", names.EVENT_REQUEST_FAILED, keys)


def _identity(run: TaskRun) -> dict[str, Any]:
    request = run.request
    return {
        names.KEY_TASK: run.name,
        names.KEY_TASK_RUN: run.id,
        names.KEY_METHOD: request and request.method,
        names.KEY_ROUTE: request and request.route,
        names.KEY_REQUEST_ID: request and request.request_id,
        names.KEY_TRACE_ID: run.trace_id,
        names.KEY_SPAN_ID: run.span_id,
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


class _WithoutInput(Exception):
    """Stands in for a validation error, whose own text quotes the input."""


def _exc_info(exc: BaseException, places: list[str] | None = None) -> tuple[Any, Any, Any]:
    if places is None:
        try:
            str(exc)
        except Exception:  # noqa: BLE001  an exception whose text cannot be had still has a traceback
            places = ["its text cannot be had"]
        else:
            return type(exc), exc, exc.__traceback__
    return type(exc), _WithoutInput("; ".join(places[:20])), exc.__traceback__


def _validation_places(exc: BaseException) -> list[str] | None:
    """Return where a validation error found something wrong; never the input."""
    errors = getattr(exc, "errors", None)
    if not callable(errors) or not type(exc).__name__.endswith("ValidationError"):
        return None
    try:
        return [f"{'.'.join(map(str, error['loc']))}: {error['type']}" for error in errors()]
    except Exception:  # noqa: BLE001  somebody else's ValidationError
        return None
