"""For the user's own logging: ids on every line, and one traceback per error."""

from __future__ import annotations

import logging
from typing import Any

from .._common import semconv
from .._common.context import current_ids, current_run, reported_exception


def add_context(logger: Any, method: str, event_dict: Any) -> Any:
    """Give a structlog line ``trace_id`` and ``span_id`` and, inside a task, ``task`` and ``task_run``.

    A structlog processor: put it behind ``merge_contextvars``. What is on the line already stays.
    """
    trace_id, span_id = current_ids()
    if trace_id is not None:
        event_dict.setdefault(semconv.KEY_TRACE_ID, trace_id)
        event_dict.setdefault(semconv.KEY_SPAN_ID, span_id)
    run = current_run()
    if run is not None:
        event_dict.setdefault(semconv.KEY_TASK, run.name)
        event_dict.setdefault(semconv.KEY_TASK_RUN, run.id)
    return event_dict


class ReportedFilter(logging.Filter):
    """Takes out what Afterword has already reported; for ``logging.getLogger("uvicorn.error")``.

    uvicorn prints the traceback of every exception that leaves the application, which after Afterword's
    ``request.failed`` or ``background_task.failed`` is the second time. Only that message is taken out, and only
    for exceptions that were reported.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is news."""
        exc = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return exc is None or reported_exception.get() != id(exc)
