"""The names of the library, as the data sources have them: the one module here that asks the library.

Metrics and labels have their Prometheus names; log keys, span attributes and events are as they are.
"""

from __future__ import annotations

from afterword import Outcome
from afterword._common import semconv
from afterword._common.cardinality import OTHER
from afterword._common.model import CELERY, STARLETTE, Reason

__all__ = ["CELERY", "OTHER", "STARLETTE", "Outcome", "Reason"]


def _counter(metric: semconv.Metric) -> str:
    """Return a counter's name, with what its type appends."""
    return f"{metric.prometheus}_total"


# --- metrics ----------------------------------------------------------------------------------------------------

METRICS = tuple(value for value in vars(semconv).values() if isinstance(value, semconv.Metric))
"""Every metric of the library."""
WITHOUT_TASK = frozenset(m.prometheus for m in METRICS if semconv.TASK_NAME not in m.attributes)
"""The metrics that do not know tasks by name."""
WITHOUT_ENGINE = frozenset(m.prometheus for m in METRICS if semconv.TASK_ENGINE not in m.attributes)
"""The metrics that are of the process, of its requests, or of a queue."""

SCHEDULED = _counter(semconv.SCHEDULED)
STARTED = _counter(semconv.STARTED)
ENDED = _counter(semconv.ENDED)
FAILURES = _counter(semconv.FAILURES)
NEVER_RAN_WHY = _counter(semconv.NEVER_RAN)
"""What never ran, with its reason and route; the outcomes themselves are ``NEVER_RAN``."""
RETURNED = _counter(semconv.RETURNED)
LOST = _counter(semconv.LOST)
DURATION = semconv.DURATION.prometheus
WAIT = semconv.WAIT.prometheus
HELD = semconv.HELD.prometheus
PUBLISH = semconv.PUBLISH_DURATION.prometheus
THREAD_WAIT = semconv.THREAD_WAIT.prometheus
PENDING = semconv.PENDING.prometheus
RUNNING = semconv.RUNNING.prometheus
OLDEST = semconv.OLDEST_AGE.prometheus
RUNNING_AGE = semconv.RUNNING_AGE.prometheus
QUEUE_MESSAGES = semconv.QUEUE_MESSAGES.prometheus
QUEUE_OLDEST = semconv.QUEUE_OLDEST_AGE.prometheus
THREADS_BUSY = semconv.THREADS_BUSY.prometheus
THREADS_LIMIT = semconv.THREADS_LIMIT.prometheus
THREADS_WAITING = semconv.THREADS_WAITING.prometheus
LOOP_LAG = semconv.LOOP_LAG.prometheus
LOOP_BLOCKED = _counter(semconv.LOOP_BLOCKED)
FIRST_BOUND = semconv.BOUNDS[0]
"""What a time in the first bucket of a histogram is at most: how much less, nobody knows."""
REQUEST_ERRORS = _counter(semconv.REQUEST_ERRORS)
CLOCK_SKEWED = _counter(semconv.CLOCK_SKEWED)
OBSERVER_ERRORS = _counter(semconv.OBSERVER_ERRORS)
PROCESS_START = semconv.PROCESS_START.prometheus
ACCOUNT_START = semconv.ACCOUNT_START.prometheus
INFO = semconv.INFO.prometheus

# --- labels -----------------------------------------------------------------------------------------------------

TASK, OUTCOME, ENGINE = semconv.ENDED.labels
(_, REASON, _) = semconv.RETURNED.labels
(STATE, _) = semconv.OLDEST_AGE.labels
QUEUE = semconv.QUEUE_MESSAGES.labels
"""The labels of a queue: its broker and its name."""
METHOD, ROUTE, STATUS, ERROR = semconv.REQUEST_ERRORS.labels
STOPPED_BY = semconv.NEVER_RAN.labels[3]
(OBSERVER,) = semconv.OBSERVER_ERRORS.labels
(VERSION,) = semconv.INFO.labels
PROCESS = ("job", "instance")
"""The labels that a scrape adds."""

# --- values of labels -------------------------------------------------------------------------------------------

STATE_PENDING = semconv.STATE_PENDING
STATE_RUNNING = semconv.STATE_RUNNING
EVENT_FAMILY, _, OUTCOME_LOST = semconv.EVENT_LOST.rpartition(".")
"""The events of tasks are a family, one for each outcome; what a dead process held is one outcome more here."""
NEVER_RAN = (Outcome.SKIPPED, Outcome.DROPPED, Outcome.ABANDONED)
EVENT_BLOCKED = semconv.EVENT_BLOCKED
RETURNED_WORD = semconv.EVENT_RETURNED.rpartition(".")[2]
UNDONE = (*NEVER_RAN, OUTCOME_LOST)
UNDONE_TOGETHER = "never ran or lost"
"""What they are called where they are one number."""
NOT_SUCCEEDED = tuple(outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED)
UNHAPPY = (*NOT_SUCCEEDED, OUTCOME_LOST)
BEGUN_UNHAPPY = (Outcome.FAILED, Outcome.CANCELLED)
WORKER_LOST_ERRORS = ("billiard.exceptions.WorkerLostError", "SystemExit")
"""The errors of the tasks that failed with the reason ``worker_lost``: a reason is no label of a failure."""

# --- log lines --------------------------------------------------------------------------------------------------

EVENT_REQUEST_FAILED = semconv.EVENT_REQUEST_FAILED

KEY_TASK = semconv.KEY_TASK
KEY_TASK_RUN = semconv.KEY_TASK_RUN
KEY_REASON = semconv.KEY_REASON
KEY_DETAIL = semconv.KEY_DETAIL
KEY_ERROR_TYPE = semconv.KEY_ERROR_TYPE
KEY_METHOD = semconv.KEY_METHOD
KEY_ROUTE = semconv.KEY_ROUTE
KEY_STATUS = semconv.KEY_STATUS
KEY_TRACE_ID = semconv.KEY_TRACE_ID

# --- spans ------------------------------------------------------------------------------------------------------

SPAN_TASK = f"span.{semconv.TASK_NAME}"
SPAN_OUTCOME = f"span.{semconv.TASK_OUTCOME}"
SPAN_WAIT = f"span.{semconv.TASK_WAIT}"
