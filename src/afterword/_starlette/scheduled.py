"""Tells an endpoint which runs it has scheduled."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.background import BackgroundTask, BackgroundTasks

from .._common.model import TaskRun
from .state import find_task, members_of

_MOST_DEPTH = 10


def runs(tasks: BackgroundTask) -> list[TaskRun]:
    """Return the runs of what was added to a ``BackgroundTasks`` so far, in order, or of one ``BackgroundTask``.

    Give their ``id`` to a client that is answered before they have ended, so that it can ask the console's API
    later: ``{console}/api/runs/{id}``. Tasks of an application that is not instrumented have no runs.

    Raises:
        TypeError: ``tasks`` is neither.
    """
    if not isinstance(tasks, BackgroundTask):
        raise TypeError(f"tasks: BackgroundTasks or a BackgroundTask is needed, not {tasks!r}")
    return list(_runs(tasks, _MOST_DEPTH))


def _runs(task: object, depth: int) -> Iterator[TaskRun]:
    inner = getattr(task, "func", None)
    if isinstance(inner, BackgroundTask):  # a task that only calls another one
        task = inner
    if isinstance(task, BackgroundTasks):
        for member in members_of(task) if depth else ():
            yield from _runs(member, depth - 1)
        return
    record = find_task(id(task))
    if record is not None and record() is task and record.run is not None:
        yield record.run
