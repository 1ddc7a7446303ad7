"""OpenTelemetry logs: one record per outcome and per failed request, and for what happens meanwhile.

Opt-in: with a bridge from structlog or stdlib logging to OpenTelemetry in place, every event would arrive twice.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from opentelemetry import _logs
from opentelemetry import context as otel
from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber

from .._common import __version__, semconv
from .._common.context import context_of
from .._common.errors.exceptions import exc_info, text
from .._common.errors.validation import findings
from .._common.model import LOST, Outcome, RequestInfo, TaskRun, full_name
from .._common.observer import TaskObserver
from .attributes import exception_attributes
from .lost import DeadRun, age_of, attributes_of, detail_of, event_of, exception_of
from .severity import LEVELS, answered_level, client_error_level, request_level, returned_level
from .tellers import Happening

_SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
}
_NANOSECONDS: Final = 1_000_000_000
_OF_KEY: Final = {
    semconv.KEY_AGE: semconv.TASK_AGE,
    semconv.KEY_PLACE: semconv.TASK_PLACE,
    semconv.KEY_COUNT: semconv.SHUTDOWN_RUNS,
    semconv.KEY_TASK_COUNTS: semconv.SHUTDOWN_TASKS,
}
"""The attributes of what a line says in keys, besides those of its run."""
_OF_EVENT: Final = {
    (semconv.EVENT_BLOCKED, semconv.KEY_DURATION): semconv.LOOP_LAG.name,
    (semconv.EVENT_SHUT_DOWN, semconv.KEY_DURATION): semconv.SHUTDOWN_DURATION,
}


class OpenTelemetryLogs(TaskObserver):
    """Emits every event as an OpenTelemetry log record: ``instrument(app, observers=[OpenTelemetryLogs()])``.

    A record has the event name of the log line (``background_task.failed``), the attributes of the run's span, and
    that span as its trace context. A failure also has ``exception.*`` with the traceback. With a journal, what a
    dead process has left is told as on the log lines, too (``background_task.lost``), and so is what no run's end
    tells: ``background_task.slow``, ``event_loop.blocked``, ``shutdown.waiting`` and ``shutdown.ended``.

    Args:
        logger_provider: the provider for records; the global one by default, even if it is set later.
        level: the lowest level that is emitted: ``"debug"`` (includes ``scheduled``, ``started``, and a 4xx that
            dropped no task), ``"info"`` (includes ``succeeded``), ``"warning"`` or ``"error"``.

    Raises:
        ValueError: ``level`` is not one of these.
    """

    def __init__(self, logger_provider: LoggerProvider | None = None, *, level: str = "info") -> None:
        if level not in _SEVERITIES:
            raise ValueError(f"level: one of {', '.join(_SEVERITIES)} is needed, not {level!r}")
        self._provider = logger_provider
        self._least = _SEVERITIES[level].value
        self._logger: Logger | None = None
        self._client_errors = client_error_level()

    def scheduled(self, run: TaskRun) -> None:
        """Emit that a run was scheduled."""
        if self._wants(SeverityNumber.DEBUG):
            self._tell_run(run, semconv.EVENT_SCHEDULED, SeverityNumber.DEBUG, run.scheduled_at)

    def started(self, run: TaskRun) -> None:
        """Emit that a run starts."""
        if self._wants(SeverityNumber.DEBUG):
            self._tell_run(run, semconv.EVENT_STARTED, SeverityNumber.DEBUG, run.started_at)

    def ended(self, run: TaskRun) -> None:
        """Emit the outcome."""
        outcome = run.outcome or Outcome.ABANDONED
        severity = _SEVERITIES[LEVELS[outcome]]
        if self._wants(severity):
            self._tell_run(run, semconv.EVENT_ENDED[outcome], severity, run.ended_at)

    def returned(self, run: TaskRun) -> None:
        """Emit that an attempt of a queue's task did not end it, and why."""
        severity = _SEVERITIES[returned_level(run)]
        if self._wants(severity):
            self._tell_run(run, semconv.EVENT_RETURNED, severity, run.ended_at)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Emit a failed request: an error with its traceback, or a quieter record for a client error."""
        severity = _SEVERITIES[request_level(info, self._client_errors)]
        if not self._wants(severity):
            return
        attributes = _request(info) | {semconv.ERROR_TYPE: full_name(exc)}
        body = f"{info.method or 'request'} {info.route or ''} failed: {full_name(exc)}"
        found = findings(exc)
        if found is not None:
            body += f" at {found}"
        if not info.client_error:
            attributes |= exception_attributes(exc_info(exc))
        context = context_of(info.trace_id, info.span_id, sampled=True)
        self._emit(semconv.EVENT_REQUEST_FAILED, severity, body, attributes, context, None)

    def error_answered(self, info: RequestInfo, exc: BaseException) -> None:
        """Emit an error that was answered with a 2xx."""
        severity = _SEVERITIES[answered_level(info)]
        if self._wants(severity):
            attributes = _request(info) | {semconv.ERROR_TYPE: full_name(exc)}
            attributes |= exception_attributes(exc_info(exc))
            body = f"{info} answered {full_name(exc)} with {info.status}"
            context = context_of(info.trace_id, info.span_id, sampled=True)
            self._emit(semconv.EVENT_ERROR_ANSWERED, severity, body, attributes, context, None)

    def tell_dead(self, run: DeadRun) -> None:
        """Emit how a run of a dead process ended, or that it was lost; for an application with a journal."""
        level, event = event_of(run)
        if self._wants(_SEVERITIES[level]):
            sampled = run.parent_sampled if run.sampled is None else run.sampled
            context = context_of(run.trace_id, run.span_id, sampled=sampled)
            at = None if run.ended_at is None else int(run.ended_at * _NANOSECONDS)
            body = _body(run.task, event, detail_of(run))
            self._emit(event, _SEVERITIES[level], body, _dead(run), context, at)

    @property
    def to(self) -> Hashable:
        """What it emits to; for what is told to everybody once."""
        return OpenTelemetryLogs, self._provider, self._least

    def tell(self, happening: Happening) -> None:
        """Emit what is no run's end, with the words of its log line."""
        severity, run = _SEVERITIES[happening.level], happening.run
        if not self._wants(severity):
            return
        attributes = (
            {} if run is None else {name: value for name, value in _identity(run).items() if value is not None}
        )
        for key, value in happening.keys.items():
            attribute = _OF_EVENT.get((happening.event, key)) or _OF_KEY.get(key)
            if attribute is not None:
                attributes[attribute] = value
        body = _body("" if run is None else run.name, happening.event, happening.keys.get(semconv.KEY_DETAIL))
        context = None if run is None else context_of(run.trace_id, run.span_id, sampled=run.sampled)
        self._emit(happening.event, severity, body, attributes, context, None)

    def _wants(self, severity: SeverityNumber) -> bool:
        return bool(severity.value >= self._least)

    def _tell_run(self, run: TaskRun, event: str, severity: SeverityNumber, at: float | None) -> None:
        body = _body(run.name, event, run.detail)
        context = context_of(run.trace_id, run.span_id, sampled=run.sampled)
        timestamp = int(at * _NANOSECONDS) if at is not None else None
        self._emit(event, severity, body, _run(run), context, timestamp)

    def _emit(
        self,
        event: str,
        severity: SeverityNumber,
        body: str,
        attributes: dict[str, Any],
        context: otel.Context | None,
        timestamp: int | None,
    ) -> None:
        if self._logger is None:
            self._logger = _logs.get_logger(semconv.SCOPE, __version__, self._provider)
        self._logger.emit(
            event_name=event,
            severity_number=severity,
            severity_text=severity.name,
            body=body,
            attributes=attributes,
            context=context,
            timestamp=timestamp,
        )


def _body(task: str, event: str, detail: str | None) -> str:
    told = f"{task} {event.rpartition('.')[2]}" if task else event
    return told if detail is None else f"{told}: {detail}"


def _run(run: TaskRun) -> dict[str, Any]:
    """Return the attributes of a run, as far as they are known."""
    attributes = _identity(run) | {
        semconv.TASK_WAIT: run.wait,
        semconv.TASK_THREAD_WAIT: run.thread_wait,
        semconv.TASK_DURATION: run.duration,
        semconv.TASK_OUTCOME: run.outcome and str(run.outcome),
        semconv.TASK_REASON: run.reason and str(run.reason),
        semconv.TASK_STOPPED_BY: run._stopped_by,
        semconv.ERROR_TYPE: run.error_type,
    }
    if run.outcome is Outcome.FAILED and run.exception is not None:
        attributes |= exception_attributes(exc_info(run.exception))
    elif run.outcome is Outcome.DROPPED and run.exception is not None:
        attributes[semconv.EXCEPTION_MESSAGE] = text(exc_info(run.exception))
    return {key: value for key, value in attributes.items() if value is not None}


def _identity(run: TaskRun) -> dict[str, Any]:
    """Return the attributes that every record of a run has; what is not known is ``None``."""
    return _request(run.request) | {
        semconv.TASK_NAME: run.name,
        semconv.TASK_RUN_ID: run.id,
        semconv.TASK_ATTEMPT: run.attempt,
        semconv.CODE_FUNCTION: run.function if run.function != run.name else None,
    }


def _request(info: RequestInfo | None) -> dict[str, Any]:
    if info is None:
        return {}
    path, client = getattr(info, "_came", (None, None))
    attributes = {
        semconv.HTTP_METHOD: info.method,
        semconv.HTTP_ROUTE: info.route,
        semconv.URL_PATH: path,
        semconv.CLIENT_ADDRESS: client,
        semconv.HTTP_STATUS: info.status,
        semconv.HTTP_REQUEST_ID: [info.request_id] if info.request_id is not None else None,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def _dead(run: DeadRun) -> dict[str, Any]:
    """Return the attributes of a run of a dead process, as far as they are known."""
    attributes = {
        semconv.HTTP_METHOD: run.method,
        semconv.HTTP_REQUEST_ID: [run.request_id] if run.request_id is not None else None,
        semconv.TASK_DURATION: run.duration,
        semconv.TASK_AGE: age_of(run) if run.outcome == LOST else None,
    }
    known = {key: value for key, value in attributes.items() if value is not None}
    return attributes_of(run) | known | exception_of(run)
