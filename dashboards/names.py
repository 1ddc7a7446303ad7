"""The names of the library, as the data sources have them: the one module here that asks the library.

Metrics and labels have their Prometheus names; log keys, span attributes and events are as they are.
"""

from __future__ import annotations

from afterword import Outcome
from afterword._common import semconv as library
from afterword._common.cardinality import OTHER

__all__ = ["OTHER", "Outcome"]


def _counter(metric: library.Metric) -> str:
    """Return a counter's name, with what its type appends."""
    return f"{metric.prometheus}_total"


# --- metrics ----------------------------------------------------------------------------------------------------

METRICS = tuple(value for value in vars(library).values() if isinstance(value, library.Metric))
"""Every metric of the library."""
WITHOUT_TASK = frozenset(m.prometheus for m in METRICS if library.TASK_NAME not in m.attributes)
"""The metrics that do not know tasks by name."""

SCHEDULED = _counter(library.SCHEDULED)
ENDED = _counter(library.ENDED)
FAILURES = _counter(library.FAILURES)
LOST = _counter(library.LOST)
DURATION = library.DURATION.prometheus
WAIT = library.WAIT.prometheus
THREAD_WAIT = library.THREAD_WAIT.prometheus
PENDING = library.PENDING.prometheus
RUNNING = library.RUNNING.prometheus
OLDEST = library.OLDEST_AGE.prometheus
THREADS_BUSY = library.THREADS_BUSY.prometheus
THREADS_LIMIT = library.THREADS_LIMIT.prometheus
THREADS_WAITING = library.THREADS_WAITING.prometheus
REQUEST_ERRORS = _counter(library.REQUEST_ERRORS)
OBSERVER_ERRORS = _counter(library.OBSERVER_ERRORS)
INFO = library.INFO.prometheus

# --- labels -----------------------------------------------------------------------------------------------------

TASK, OUTCOME = library.ENDED.labels
(STATE,) = library.OLDEST_AGE.labels
METHOD, ROUTE, STATUS, ERROR = library.REQUEST_ERRORS.labels
(OBSERVER,) = library.OBSERVER_ERRORS.labels
(VERSION,) = library.INFO.labels
PROCESS = ("job", "instance")
"""The labels that a scrape adds."""

# --- values of labels -------------------------------------------------------------------------------------------

STATE_PENDING = library.STATE_PENDING
STATE_RUNNING = library.STATE_RUNNING
EVENT_FAMILY, _, OUTCOME_LOST = library.EVENT_LOST.rpartition(".")
"""The events of tasks are a family, one for each outcome; what a dead process held is one outcome more here."""
NEVER_RAN = (Outcome.SKIPPED, Outcome.DROPPED, Outcome.ABANDONED)
UNDONE = (*NEVER_RAN, OUTCOME_LOST)
NOT_SUCCEEDED = tuple(outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED)
UNHAPPY = (*NOT_SUCCEEDED, OUTCOME_LOST)

# --- log lines --------------------------------------------------------------------------------------------------

EVENT_REQUEST_FAILED = library.EVENT_REQUEST_FAILED

KEY_TASK = library.KEY_TASK
KEY_TASK_RUN = library.KEY_TASK_RUN
KEY_REASON = library.KEY_REASON
KEY_DETAIL = library.KEY_DETAIL
KEY_ERROR_TYPE = library.KEY_ERROR_TYPE
KEY_METHOD = library.KEY_METHOD
KEY_ROUTE = library.KEY_ROUTE
KEY_STATUS = library.KEY_STATUS
KEY_TRACE_ID = library.KEY_TRACE_ID

# --- spans ------------------------------------------------------------------------------------------------------

SPAN_TASK = f"span.{library.TASK_NAME}"
SPAN_OUTCOME = f"span.{library.TASK_OUTCOME}"
SPAN_WAIT = f"span.{library.TASK_WAIT}"
