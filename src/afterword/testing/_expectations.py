"""The outcomes that a test expects of its tasks: accepted, and required."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._common.model import Outcome, TaskRun
from .._common.task_names import function_name
from . import _lookup as lookup
from . import _report as report

Task = str | Callable[..., Any]


class Expectations:
    """The expected outcome of each task."""

    def __init__(self) -> None:
        self._outcomes: list[tuple[Task, Outcome]] = []

    def add(self, outcomes: Mapping[Any, Outcome | str]) -> None:
        """Add expectations; raises ``TypeError`` for an invalid task, ``ValueError`` for an invalid outcome."""
        __tracebackhide__ = True
        self._outcomes += [(_task(task), _outcome(outcome)) for task, outcome in outcomes.items()]

    def met_by(self, runs: Sequence[TaskRun]) -> set[TaskRun]:
        """Return the runs that have the expected outcome of their task."""
        return {run for task, outcome in self._outcomes for run in _runs_of(task, runs) if run.outcome is outcome}

    def unmet(self, runs: Sequence[TaskRun]) -> list[str]:
        """Return a sentence for each expectation that no run has met."""
        return [
            f"expected to be {outcome}: {_told(task, runs)}"
            for task, outcome in self._outcomes
            if all(run.outcome is not outcome for run in _runs_of(task, runs))
        ]


def _task(task: Task) -> Task:
    if not isinstance(task, str) and not callable(task):
        raise TypeError(f"a task is looked up by its name or by its function, not by {task!r}")
    return task


def _outcome(outcome: Outcome | str) -> Outcome:
    try:
        return Outcome(outcome)
    except ValueError:
        raise ValueError(f"an outcome is one of {', '.join(Outcome)}, not {outcome!r}") from None


def _runs_of(task: Task, runs: Sequence[TaskRun]) -> list[TaskRun]:
    try:
        functions = lookup.functions(task, runs)
    except lookup.UnknownTask:
        return []
    return [run for run in runs if run.function in functions]


def _told(task: Task, runs: Sequence[TaskRun]) -> str:
    found = _runs_of(task, runs)
    if found:
        return f"{lookup.label(found[0])}: {report.tally(found)}"
    return lookup.unknown(task, runs) if isinstance(task, str) else lookup.not_scheduled(function_name(task), runs)
