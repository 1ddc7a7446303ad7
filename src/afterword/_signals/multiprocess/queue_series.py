"""The series of a queue's tasks in one process among several. Nobody closes them: others end its runs."""

from __future__ import annotations

from ..._common import semconv
from ..._common.cardinality import ERROR_TYPES
from ..._common.model import CELERY, Outcome, TaskRun
from ..attributes import why
from .numbers import Book


class QueueProcessSeries(dict[str, "QueueTaskSeries"]):
    """All series of a queue's tasks."""

    def __init__(self, book: Book) -> None:
        super().__init__()
        self.book = book

    def __missing__(self, name: str) -> QueueTaskSeries:
        return self.setdefault(name, QueueTaskSeries(self.book, name))


class QueueTaskSeries:
    """The series of one task name."""

    def __init__(self, book: Book, name: str) -> None:
        self._book = book
        self._name = name
        # start all outcomes at 0, so that rate() sees the first failure
        for outcome in Outcome:
            book.counter(semconv.ENDED, name, str(outcome), CELERY)
        book.counter(semconv.LOST, name, CELERY)  # for the same reason; others count there

    def count_scheduled(self) -> None:
        """Count a published task."""
        self._book.counter(semconv.SCHEDULED, self._name, CELERY).inc()

    def hold(self, change: int) -> None:
        """Change how many are received and not begun."""
        self._book.gauge(semconv.PENDING, self._name, CELERY).inc(change)

    def count_started(self, run: TaskRun) -> None:
        """Count an attempt."""
        self._book.counter(semconv.STARTED, self._name, CELERY).inc()
        if run._held:
            self.hold(-1)
        if run._held_time is not None:
            self._book.histogram(semconv.HELD, self._name, CELERY).observe(run._held_time)
        self._book.gauge(semconv.RUNNING, self._name, CELERY).inc()
        if run.wait is not None:
            self._book.histogram(semconv.WAIT, self._name, CELERY).observe(run.wait)

    def count_returned(self, run: TaskRun) -> None:
        """Count an attempt that did not end its task."""
        self._book.gauge(semconv.RUNNING, self._name, CELERY).dec()
        self._book.counter(semconv.RETURNED, self._name, str(run.reason), CELERY).inc()

    def count_ended(self, run: TaskRun) -> None:
        """Count a run's outcome."""
        outcome = run.outcome or Outcome.ABANDONED
        if run.started_at is not None:
            self._book.gauge(semconv.RUNNING, self._name, CELERY).dec()
            values = self._name, str(outcome), CELERY
            self._book.histogram(semconv.DURATION, *values).observe(run.duration or 0.0)
        else:
            if run._held:
                self.hold(-1)
            self._book.counter(semconv.NEVER_RAN, self._name, *why(run), CELERY).inc()
        self._book.counter(semconv.ENDED, self._name, str(outcome), CELERY).inc()
        if outcome is Outcome.FAILED:
            kind = ERROR_TYPES.admit(str(run.error_type))
            self._book.counter(semconv.FAILURES, self._name, kind, CELERY).inc()
