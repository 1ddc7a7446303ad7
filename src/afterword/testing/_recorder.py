"""Records the runs of a test, and their errors as text."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from .._common.errors.exceptions import exc_info
from .._common.model import Outcome, RequestInfo, TaskObserver, TaskRun, full_name

_MAX_FRAMES = 10


@dataclass(frozen=True)
class RequestError:
    """A request that failed, or was answered by an exception (including a 4xx)."""

    method: str | None
    """The HTTP method; ``None`` for a WebSocket."""
    route: str | None
    """The route's template, such as ``/orders/{number}``; ``None`` where no route matched."""
    status: int | None
    """The status that was sent; ``None`` without a response."""
    error_type: str
    """The exception's full name, ``ValueError`` for builtins."""
    message: str
    """The exception's type and text."""

    def __str__(self) -> str:
        sent = "no answer" if self.status is None else str(self.status)
        return f"{RequestInfo(self.method, self.route)}: {sent}, {self.message}"


class Recorder(TaskObserver):
    """Records everything from now on; ignores runs that were scheduled before.

    It keeps no exceptions: their frames would keep task objects alive, which would then never be abandoned.
    """

    def __init__(self) -> None:
        self.runs: list[TaskRun] = []
        self.request_errors: list[RequestError] = []
        self.errors: dict[TaskRun, list[str]] = {}
        """For each run that ended with an exception: its text and, if the run failed, its traceback."""

    def scheduled(self, run: TaskRun) -> None:
        """Record a run."""
        self.runs.append(run)

    def ended(self, run: TaskRun) -> None:
        """Record the error of a run as text."""
        if run.exception is not None:
            told = _where if run.outcome is Outcome.FAILED else _what
            self.errors[run] = told(run.exception)

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """Record the error of a request as text."""
        message = " ".join(_what(exc))
        self.request_errors.append(RequestError(info.method, info.route, info.status, full_name(exc), message))


def _what(exc: BaseException) -> list[str]:
    return _lines(traceback.format_exception_only(exc_info(exc)[1]))


def _where(exc: BaseException) -> list[str]:
    """Return the traceback of a task, starting at its own function."""
    _, told, inside = exc_info(exc)
    frames = traceback.extract_tb(inside, limit=-_MAX_FRAMES)
    return _lines(traceback.format_list(frames) + traceback.format_exception_only(told))


def _lines(texts: list[str]) -> list[str]:
    return [line for text in texts for line in text.splitlines()]
