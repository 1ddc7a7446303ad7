"""What several signals say in the same words: of an exception, and of a run that never ran."""

from __future__ import annotations

from .._common import semconv
from .._common.cardinality import ROUTES, TASK_NAMES, admit_status
from .._common.errors.exceptions import ExcInfo, stacktrace, text
from .._common.model import Outcome, TaskRun, full_name

LABELS = semconv.NEVER_RAN.attributes[1:-1]
Why = tuple[str, ...]
"""The values of these: an outcome, a reason, and what is empty where there is none, the status for one."""


def exception_attributes(told: ExcInfo) -> dict[str, str]:
    """Return OpenTelemetry's ``exception.*`` attributes of what may be told of an exception."""
    return {
        semconv.EXCEPTION_TYPE: full_name(told[0]),
        semconv.EXCEPTION_MESSAGE: text(told),
        semconv.EXCEPTION_STACKTRACE: stacktrace(told),
    }


def why(run: TaskRun) -> Why:
    """Return why a run never ran. The status is told of a dropped one: with a 4xx, it was the client's error."""
    request = run.request
    route = status = ""
    stopped_by = TASK_NAMES.admit(run._stopped_by) if run._stopped_by else ""
    if request is not None:
        route = ROUTES.admit(request.route or "")
        if run.outcome is Outcome.DROPPED and request.status is not None:
            status = str(admit_status(request.status))
    return str(run.outcome or Outcome.ABANDONED), str(run.reason), stopped_by, route, status


def why_attributes(told: Why) -> dict[str, str | int]:
    """Return them as OpenTelemetry's attributes, without those that are not known."""
    return {
        name: int(value) if name == semconv.HTTP_STATUS and value.isdigit() else value
        for name, value in zip(LABELS, told, strict=True)
        if value
    }
