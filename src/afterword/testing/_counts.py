"""The numbers of some runs, by state and outcome."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from .._common.model import Outcome, TaskRun
from . import _report as report
from ._recorder import Recorder, is_running, was_published


class Count(int):
    """A number of runs. An ordinary ``int`` that can explain itself to pytest."""

    _tell: Callable[[], list[str]] | None = None

    @classmethod
    def of(cls, number: int, tell: Callable[[], list[str]]) -> Count:
        """Create a number with an explanation."""
        count = cls(number)
        count._tell = tell
        return count

    def story(self) -> list[str]:
        """Return lines that say what happened to each run."""
        return self._tell() if self._tell is not None else []


class Counts(ABC):
    """The numbers of some runs, at the moment they are read.

    ``scheduled == pending + running + succeeded + failed + cancelled + skipped + dropped + abandoned``
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @property
    @abstractmethod
    def runs(self) -> list[TaskRun]:
        """The runs, in the order in which they were scheduled."""
        ...

    @property
    def scheduled(self) -> Count:
        """How many runs were scheduled."""
        return self._count(lambda run: True)

    @property
    def published(self) -> Count:
        """How many runs are Celery tasks that were published, whatever became of them.

        One that no worker of this process has received has no outcome here: it is ``pending``, too.
        """
        return self._count(was_published)

    @property
    def started(self) -> Count:
        """How many runs have started, whatever their outcome."""
        return self._count(lambda run: run.started)

    @property
    def pending(self) -> Count:
        """How many runs have not started, but still may; or were tried by Celery, and will be again."""
        return self._count(lambda run: run.outcome is None and not is_running(run))

    @property
    def running(self) -> Count:
        """How many runs have started and not ended."""
        return self._count(is_running)

    @property
    def succeeded(self) -> Count:
        """How many runs returned."""
        return self._ended(Outcome.SUCCEEDED)

    @property
    def failed(self) -> Count:
        """How many runs raised, or returned something that nothing will ever run."""
        return self._ended(Outcome.FAILED)

    @property
    def cancelled(self) -> Count:
        """How many runs were cancelled while they ran."""
        return self._ended(Outcome.CANCELLED)

    @property
    def skipped(self) -> Count:
        """How many runs never started, because an earlier task of their batch failed."""
        return self._ended(Outcome.SKIPPED)

    @property
    def dropped(self) -> Count:
        """How many runs never started, because their request failed."""
        return self._ended(Outcome.DROPPED)

    @property
    def abandoned(self) -> Count:
        """How many runs never started, because nothing would ever have called them."""
        return self._ended(Outcome.ABANDONED)

    def _ended(self, outcome: Outcome) -> Count:
        return self._count(lambda run: run.outcome is outcome)

    def _count(self, counts: Callable[[TaskRun], bool]) -> Count:
        runs = self.runs
        return Count.of(sum(map(counts, runs)), lambda: self._story(runs))

    def _story(self, runs: Sequence[TaskRun]) -> list[str]:
        told = report.tell(self._recorder, runs, lambda run: run.outcome is not Outcome.SUCCEEDED)
        return told if runs else [self._absence(), *told]

    @abstractmethod
    def _absence(self) -> str:
        """Say that there are no runs."""
        ...
