"""For the user's own logging: ids on every line, and one traceback per error."""

from __future__ import annotations

import logging
from typing import Any

from .._common import semconv
from .._common.context import current, current_ids, reported_exception


def add_context(logger: Any, method: str, event_dict: Any) -> Any:
    """Add ``trace_id`` and ``span_id`` to a structlog line and, inside a task, ``task`` and ``task_run``.

    A structlog processor. Put it after ``merge_contextvars``. Existing keys are not overwritten.
    """
    trace_id, span_id = current_ids()
    if trace_id is not None:
        event_dict.setdefault(semconv.KEY_TRACE_ID, trace_id)
        event_dict.setdefault(semconv.KEY_SPAN_ID, span_id)
    run = current()
    if run is not None:
        event_dict.setdefault(semconv.KEY_TASK, run.name)
        event_dict.setdefault(semconv.KEY_TASK_RUN, run.id)
    return event_dict


class ReportedFilter(logging.Filter):
    """Removes tracebacks that Afterword has already logged; for ``logging.getLogger("uvicorn.error")``.

    uvicorn logs the traceback of every exception that leaves the application, which repeats Afterword's
    ``request.failed`` or ``background_task.failed``. The filter removes only that message, and only for exceptions
    that were logged.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record was not logged already."""
        exc = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return exc is None or reported_exception.get() != id(exc)
