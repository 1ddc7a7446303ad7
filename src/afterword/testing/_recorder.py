"""Records the runs of a test, and their errors as text."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from .._common.errors.exceptions import exc_info
from .._common.model import CELERY, Outcome, Reason, RequestInfo, TaskRun, full_name
from .._common.observer import QueueObserver

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


def was_published(run: TaskRun) -> bool:
    """Return whether the message of a Celery task was handed to a broker, whatever became of it since."""
    is_message = run.engine == CELERY and run._system is not None and run.attempt is not None
    return is_message and run.reason is not Reason.PUBLISH_FAILED


def is_running(run: TaskRun) -> bool:
    """Return whether a run has started and not ended; an attempt that was given back has ended itself."""
    return run.outcome is None and run.started and run.ended_at is None


def is_with_broker(run: TaskRun) -> bool:
    """Return whether a run's message waits for a worker, of which this process may have none."""
    return run.outcome is None and not run.started and not run._held and was_published(run)


class Recorder(QueueObserver):
    """Records everything from now on; ignores runs that were scheduled before.

    It keeps no exceptions: their frames would keep task objects alive, which would then never be abandoned.
    """

    def __init__(self) -> None:
        self.runs: list[TaskRun] = []
        self.request_errors: list[RequestError] = []
        self.errors: dict[TaskRun, list[str]] = {}
        """For each run that ended with an exception: its text and, if the run failed, its traceback."""
        self._queued: dict[tuple[str, str], list[int]] = {}
        """Where the runs of Celery's tasks are, by their ids and names."""

    def scheduled(self, run: TaskRun) -> None:
        """Record a run."""
        self.runs.append(run)
        if run.engine == CELERY:
            self._queued.setdefault((run.id, run.name), []).append(len(self.runs) - 1)

    def received(self, run: TaskRun) -> None:
        """Record what a worker in this process holds."""
        self._see(run)

    def started(self, run: TaskRun) -> None:
        """Record that a run has started."""
        self._see(run)

    def ended(self, run: TaskRun) -> None:
        """Record the error of a run as text."""
        self._see(run)
        if run.exception is not None:
            told = _where if run.outcome is Outcome.FAILED else _what
            self.errors[run] = told(run.exception)

    def _see(self, run: TaskRun) -> None:
        """Let an attempt of Celery's stand for its task: it is another object than what was published."""
        for place in reversed(self._queued.get((run.id, run.name), ()) if run.engine == CELERY else ()):
            if self.runs[place] is run:
                return
            if self.runs[place].outcome is None:
                self.runs[place] = run
                return

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
