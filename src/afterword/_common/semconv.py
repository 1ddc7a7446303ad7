"""Every name on the wire, written once and shared by all signals.

A Prometheus name or label is the OpenTelemetry one by the standard translation (dots become underscores, the
unit and ``_total`` are appended), so one dashboard serves a scrape and an OTLP pipeline alike.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from . import model
from .model import Outcome

SCOPE: Final = "afterword"
"""The instrumentation scope, the logger's name, and the source of internal errors."""
SPAN_PREFIX: Final = "background_task "
PUBLISH_PREFIX: Final = "publish "

_SECONDS: Final = "s"
_TASKS, _FAILURES, _THREADS, _ERRORS, _MESSAGES = "{task}", "{failure}", "{thread}", "{error}", "{message}"


class Metric(NamedTuple):
    """One metric: its OpenTelemetry name and unit, its help text, its attributes, a histogram's bounds."""

    name: str
    unit: str
    help: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """What a value in each bucket is at most; the last bucket holds the rest."""

    @property
    def prometheus(self) -> str:
        """The Prometheus name without ``_total``, which the type appends."""
        suffix = "_seconds" if self.unit == _SECONDS else ""
        return self.name.replace(".", "_") + suffix

    @property
    def labels(self) -> tuple[str, ...]:
        """The Prometheus label names, in the order of the attributes."""
        return tuple(attribute.replace(".", "_") for attribute in self.attributes)


# --- attributes: of metrics (labels, too) and of spans ----------------------------------------------------------

TASK_NAME: Final = "background_task.name"
TASK_ENGINE: Final = "background_task.engine"
TASK_OUTCOME: Final = "background_task.outcome"
TASK_STATE: Final = "background_task.state"
TASK_RUN_ID: Final = "background_task.run.id"
TASK_REASON: Final = "background_task.reason"
TASK_STOPPED_BY: Final = "background_task.stopped_by"
TASK_WAIT: Final = "background_task.wait"
TASK_THREAD_WAIT: Final = "background_task.thread_wait"
TASK_DURATION: Final = "background_task.duration"
TASK_AGE: Final = "background_task.age"
TASK_PLACE: Final = "background_task.place"
TASK_ATTEMPT: Final = "background_task.attempt"
TASK_RECOVERED: Final = "background_task.recovered"
PROCESS_PID: Final = "process.pid"
CODE_FUNCTION: Final = "code.function.name"
ERROR_TYPE: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
URL_PATH: Final = "url.path"
CLIENT_ADDRESS: Final = "client.address"
HTTP_REQUEST_ID: Final = "http.request.header.x-request-id"
OBSERVER: Final = "afterword.observer"
SHUTDOWN_DURATION: Final = "afterword.shutdown.duration"
SHUTDOWN_RUNS: Final = "afterword.shutdown.runs"
SHUTDOWN_TASKS: Final = "afterword.shutdown.tasks"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
VERSION: Final = "version"

# OpenTelemetry's conventions for messaging, in development
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"

STATE_PENDING: Final = model.STATE_PENDING
STATE_RUNNING: Final = model.STATE_RUNNING

# --- metrics ----------------------------------------------------------------------------------------------------

# What a value in each bucket is at most; the last one holds the rest. Each is a series, for each task and outcome.
# A quantile lies in the bucket of the true one, and is off by its width at most. Both SDKs expect floats.
BOUNDS: Final = (
    # Of a task's times. From a second to a minute a quantile is too high by a half at most. Timeouts are round,
    # and what runs into one takes a little longer: of 3, 5, 10, 15, 20, 30 and 60 s and of 2, 5, 10, 30 and 60
    # minutes, the next bound is a third above at most, and mostly close.
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0),
    *(64.0, 128.0, 320.0, 640.0, 1920.0, 3840.0, inf),
)
COARSE_BOUNDS: Final = (
    # Of what is no task's: mostly milliseconds, and of answers there are many series.
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, inf),
)

SCHEDULED = Metric("background_task.scheduled", _TASKS, "Background tasks scheduled.", (TASK_NAME, TASK_ENGINE))
STARTED = Metric("background_task.started", _TASKS, "Background tasks begun.", (TASK_NAME, TASK_ENGINE))
ENDED = Metric(
    "background_task.ended", _TASKS, "Background tasks by outcome.", (TASK_NAME, TASK_OUTCOME, TASK_ENGINE)
)
NEVER_RAN = Metric(
    "background_task.never_ran",
    _TASKS,
    "Background tasks that never ran, by reason and route.",
    (TASK_NAME, TASK_OUTCOME, TASK_REASON, TASK_STOPPED_BY, HTTP_ROUTE, HTTP_STATUS, TASK_ENGINE),
)
FAILURES = Metric(
    "background_task.failures",
    _FAILURES,
    "Failed background tasks by error.",
    (TASK_NAME, ERROR_TYPE, TASK_ENGINE),
)
RETURNED = Metric(
    "background_task.returned",
    _TASKS,
    "Attempts of a queue's tasks that did not end their task.",
    (TASK_NAME, TASK_REASON, TASK_ENGINE),
)
LOST = Metric(
    "background_task.lost", _TASKS, "Background tasks found in a dead process.", (TASK_NAME, TASK_ENGINE)
)
DURATION = Metric(
    TASK_DURATION,
    _SECONDS,
    "Time a background task ran, without its wait for a thread.",
    (TASK_NAME, TASK_OUTCOME, TASK_ENGINE),
    BOUNDS,
)
WAIT = Metric(TASK_WAIT, _SECONDS, "Time from scheduled to started.", (TASK_NAME, TASK_ENGINE), BOUNDS)
THREAD_WAIT = Metric(
    TASK_THREAD_WAIT, _SECONDS, "Time a sync task waited for a worker thread.", (TASK_NAME, TASK_ENGINE), BOUNDS
)
PENDING = Metric("background_task.pending", _TASKS, "Background tasks not yet begun.", (TASK_NAME, TASK_ENGINE))
RUNNING = Metric("background_task.running", _TASKS, "Background tasks running now.", (TASK_NAME, TASK_ENGINE))
OLDEST_AGE = Metric(
    "background_task.oldest_age",
    _SECONDS,
    "Age of the oldest background task in a state.",
    (TASK_STATE, TASK_ENGINE),
)
RUNNING_AGE = Metric(
    "background_task.running_age",
    _SECONDS,
    "Age of the oldest running background task of a name; 0 for one that was seen and does not run any more.",
    (TASK_NAME, TASK_ENGINE),
)
QUEUE_MESSAGES = Metric(
    "background_task.queue.messages",
    _MESSAGES,
    "Messages in a queue that nobody has received.",
    (MESSAGING_SYSTEM, MESSAGING_DESTINATION),
)
QUEUE_OLDEST_AGE = Metric(
    "background_task.queue.oldest_age",
    _SECONDS,
    "Age of the oldest message in a queue.",
    (MESSAGING_SYSTEM, MESSAGING_DESTINATION),
)
HELD = Metric(
    "background_task.held", _SECONDS, "Time from received by a worker to begun.", (TASK_NAME, TASK_ENGINE), BOUNDS
)
PUBLISH_DURATION = Metric(
    "background_task.publish.duration",
    _SECONDS,
    "Time that publishing a task took its caller.",
    (MESSAGING_DESTINATION, ERROR_TYPE, TASK_ENGINE),
    COARSE_BOUNDS,
)
CLOCK_SKEWED = Metric(
    "afterword.clock.skewed", _TASKS, "Tasks that began before they were published, by their hosts' clocks."
)
THREADS_BUSY = Metric("afterword.worker_thread.busy", _THREADS, "Worker threads in use.")
THREADS_LIMIT = Metric("afterword.worker_thread.limit", _THREADS, "Worker threads at most.")
THREADS_WAITING = Metric("afterword.worker_thread.waiting", _THREADS, "Callers waiting for a worker thread.")
LOOP_LAG = Metric(
    "afterword.event_loop.lag",
    _SECONDS,
    "How late an event loop came back to its timer of half a second.",
    bounds=COARSE_BOUNDS,
)
LOOP_BLOCKED = Metric(
    "afterword.event_loop.blocked",
    _SECONDS,
    "Time that event loops were held up for a second or longer, by the background task that did it, if one did.",
    (TASK_NAME,),
)
RESPONSE_DURATION = Metric(
    "afterword.response.duration",
    _SECONDS,
    "Time from a request's arrival until its answer was sent, without the background work behind it.",
    (HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS),
    COARSE_BOUNDS,
)
REQUEST_ERRORS = Metric(
    "afterword.request.errors",
    _ERRORS,
    "Requests that failed, and exceptions answered with a 2xx.",
    (HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, ERROR_TYPE),
)
OBSERVER_ERRORS = Metric("afterword.observer.errors", _ERRORS, "Errors of observers.", (OBSERVER,))
PROCESS_START = Metric(
    "afterword.process.start_time", _SECONDS, "When a process last began to count, in seconds since the epoch."
)
ACCOUNT_START = Metric(
    "afterword.account.start_time", _SECONDS, "Since when the counters have counted, in seconds since the epoch."
)
INFO = Metric("afterword.info", "", "Afterword is accounting for this process.", (VERSION,))

# --- log events and keys ----------------------------------------------------------------------------------------

EVENT_SCHEDULED: Final = SCHEDULED.name
EVENT_STARTED: Final = STARTED.name
EVENT_ENDED: Final = {outcome: f"background_task.{outcome}" for outcome in Outcome}
EVENT_LOST: Final = LOST.name
EVENT_RETURNED: Final = RETURNED.name
EVENT_REQUEST_FAILED: Final = "request.failed"
EVENT_ERROR_ANSWERED: Final = "request.error_answered"
EVENT_BLOCKED: Final = "event_loop.blocked"
EVENT_SLOW: Final = "background_task.slow"
EVENT_WAITING: Final = "shutdown.waiting"
EVENT_SHUT_DOWN: Final = "shutdown.ended"
EVENT_METRICS: Final = "afterword.metrics"
EVENT_TRACES: Final = "afterword.traces"
EVENT_CONSOLE: Final = "afterword.console"
EVENT_EXCEPTION: Final = "exception"  # of a span
EVENT_DISABLED: Final = "afterword.disabled"

KEY_TASK: Final = "task"
KEY_TASK_RUN: Final = "task_run"
KEY_TASK_COUNTS: Final = "task_counts"
KEY_ATTEMPT: Final = "attempt"
KEY_WAIT: Final = "wait_s"
KEY_THREAD_WAIT: Final = "thread_wait_s"
KEY_DURATION: Final = "duration_s"
KEY_REASON: Final = "reason"
KEY_STOPPED_BY: Final = "stopped_by"
KEY_DETAIL: Final = "detail"
KEY_ERROR_TYPE: Final = "error_type"
KEY_METHOD: Final = "http_method"
KEY_ROUTE: Final = "http_route"
KEY_STATUS: Final = "http_status"
KEY_REQUEST_ID: Final = "request_id"
KEY_TRACE_ID: Final = "trace_id"
KEY_SPAN_ID: Final = "span_id"
KEY_COUNT: Final = "count"
KEY_PATH: Final = "path"
KEY_CLIENT: Final = "client_address"
KEY_PLACE: Final = "place"
KEY_ERRORS: Final = "errors"
KEY_ERROR_COUNT: Final = "error_count"
KEY_STATE: Final = "state"
KEY_AGE: Final = "age_s"
KEY_PID: Final = "pid"
KEY_SHUTDOWN: Final = "shutdown_s"
KEY_RECOVERED: Final = "recovered"
KEY_ERROR_TEXT: Final = "error_text"
KEY_TRACEBACK: Final = "traceback"

LOG_KEYS: Final = tuple(value for name, value in dict(globals()).items() if name.startswith("KEY_"))
"""Every key that one of our log lines may have."""
