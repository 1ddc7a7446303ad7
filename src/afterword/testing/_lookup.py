"""Looks up the task that a test means, by short name, full name or function."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from .._common.cardinality import OTHER
from .._common.model import TaskRun
from .._common.task_names import function_name


class UnknownTask(KeyError):
    """No task of that name was scheduled. A typo must not look like "all of them ran"."""

    def __str__(self) -> str:  # KeyError's own shows the message as a literal
        return str(self.args[0])


class AmbiguousTask(LookupError):
    """Several tasks share that short name."""


def label(run: TaskRun) -> str:
    """Return the name of a run, or its function's name if the bound on task names made it ``other``."""
    return run.function if run.name == OTHER else run.name


def scheduled_names(runs: Sequence[TaskRun]) -> list[str]:
    """Return the names of the tasks that were scheduled, each once, in order."""
    return list(dict.fromkeys(map(label, runs)))


def functions(key: str | Callable[..., Any], runs: Sequence[TaskRun]) -> set[str]:
    """Return the full names of the functions that a key stands for.

    A function is accepted whether it was scheduled or not. Raises ``UnknownTask`` for a name that was never
    scheduled, ``AmbiguousTask`` for one that several tasks share, ``TypeError`` for anything else.
    """
    __tracebackhide__ = True
    if not isinstance(key, str):
        if not callable(key):
            raise TypeError(f"a task is looked up by its name or by its function, not by {key!r}")
        return {function_name(key)}
    found = matching(key, runs)
    if not found:
        none = "account[function]" if runs else "account"
        raise UnknownTask(f"{unknown(key, runs)} (if that is what you expect: {none}.scheduled == 0)")
    if len(set(found.values())) > 1:
        candidates = ", ".join(sorted(found))
        raise AmbiguousTask(
            f"{key!r} is ambiguous: {candidates}; look it up by the full name or by the function itself"
        )
    return set(found)


def matching(key: str, runs: Sequence[TaskRun]) -> dict[str, str]:
    """Return the functions that a name may mean, each with its task's name."""
    known = {run.function: label(run) for run in runs}
    if key in known:
        return {key: known[key]}
    ending = f".{key}"
    return {
        function: name
        for function, name in known.items()
        if name == key or name.endswith(ending) or function.endswith(ending)
    }


def not_scheduled(task: str, runs: Sequence[TaskRun]) -> str:
    """Return a sentence that a task was not scheduled, with the tasks that were."""
    names = scheduled_names(runs)
    others = f"only {', '.join(names)}" if names else "nor any other"
    return f"{task} was not scheduled, {others}"


def unknown(key: str, runs: Sequence[TaskRun]) -> str:
    """Return a sentence that no task of that name was scheduled, with similar names."""
    names = scheduled_names(runs)
    by_ending = {name.rpartition(".")[2]: name for name in names}
    close = difflib.get_close_matches(key, [*by_ending, *names], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{not_scheduled(repr(key), runs)}{hint}"
