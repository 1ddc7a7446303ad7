"""What will never be published, since an earlier step failed: the rest of a chain, the body of a chord."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from opentelemetry.context import Context

from .._common.model import Outcome, Reason, TaskRun
from . import judgement, pipe
from .instrumentation import CeleryInstrumentation, find

_MOST: Final = 1000
_CONTAINERS: Final = ("celery.chain", "celery.group", "celery.chord")


def skip_rest(known: CeleryInstrumentation, app: Any, step: TaskRun, embedded: Any) -> None:
    """Skip what a chain had after a step; ``embedded`` is what came with the step's arguments."""
    if isinstance(embedded, Mapping) and embedded.get("chain"):
        _skip(known, app, step.name, reversed(list(embedded["chain"])[-_MOST:]), step._around)


def chord_failed(original: Callable[..., Any], is_on: Callable[[], bool]) -> Callable[..., Any]:
    """Return a ``chord_error_from_stack`` of a result backend that skips the chord's body."""

    def chord_error_from_stack(self: Any, /, callback: Any, *args: Any, **kwargs: Any) -> Any:
        known = find(getattr(self, "app", None))
        if known is not None and is_on():
            known.failsafe("a chord that failed", _skip_body, known, self.app, callback)
        return original(self, callback, *args, **kwargs)

    return chord_error_from_stack


def _skip_body(known: CeleryInstrumentation, app: Any, body: Any) -> None:
    _skip(known, app, None, [body], None)


def _skip(known: CeleryInstrumentation, app: Any, culprit: str | None, steps: Any, around: Context | None) -> None:
    detail = judgement.SKIPPED.format(name=culprit or "a part of the chord")
    for number, step in enumerate(_tasks_of(steps)):
        if number >= _MOST:
            return
        options = step.get("options")
        task_id = options.get("task_id") if isinstance(options, Mapping) else None
        run = known.run_of(app, step.get("task"), {"id": task_id})
        run.attempt = None
        run._around = around
        pipe.count(known, pipe.SKIP, run, detail)
        run.outcome, run.reason, run.detail = Outcome.SKIPPED, Reason.EARLIER_TASK_FAILED, detail
        run.error_type, run._stopped_by = str(run.reason), culprit
        known.teller.tell_end(run)


def _tasks_of(steps: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield the tasks in signatures, and in what is nested in them."""
    if depth > 20 or isinstance(steps, str) or not hasattr(steps, "__iter__"):
        return
    for step in steps:
        if not isinstance(step, Mapping):
            continue
        task, given = step.get("task"), step.get("kwargs")
        given = given if isinstance(given, Mapping) else {}
        if task in _CONTAINERS:
            yield from _tasks_of(_list(given.get("tasks") or given.get("header")), depth + 1)
            if given.get("body"):
                yield from _tasks_of([given["body"]], depth + 1)
        elif isinstance(task, str):
            yield step
        options = step.get("options")
        if isinstance(options, Mapping) and options.get("chain"):
            yield from _tasks_of(reversed(list(options["chain"])), depth + 1)


def _list(steps: Any) -> Any:
    """Return the tasks of a header, which may itself be a group."""
    if isinstance(steps, Mapping):
        return [steps]
    return steps or ()
