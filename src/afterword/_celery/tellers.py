"""What a process tells of an attempt besides counting it: its trace, and the user's callbacks."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Mapping
from typing import Any

from celery.exceptions import TaskPredicate
from opentelemetry.trace import get_current_span

from .._common.context import hex_ids
from .._common.errors.tracebacks import without_values
from .._common.model import TaskRun
from . import headers
from .instrumentation import CeleryInstrumentation


def continue_trace(run: TaskRun, said: Mapping[str, Any]) -> None:
    """Put a run into the trace that its message was published in: in that span, until it has one of its own."""
    run._around = around = headers.remote_context(said)
    if around is not None:
        run.trace_id, run.span_id, run.sampled = hex_ids(get_current_span(around).get_span_context())


def give_places(exc: Any, told: Any) -> None:
    """Give an exception the traceback that has come with it from a child, for the journal and for callbacks."""
    if isinstance(exc, Exception) and not isinstance(exc, TaskPredicate) and exc.__traceback__ is None:
        exc.__traceback__ = without_values(getattr(told, "tb", None))


def call_back(known: CeleryInstrumentation, run: TaskRun, exc: BaseException | None) -> None:
    """Call ``on_task_failure``, in a thread: the worker's main process must not wait for it."""
    functions = known.settings.on_task_failure
    if functions:

        def call() -> None:
            for function in functions:
                known.failsafe("on_task_failure", _call, function, run, exc)

        threading.Thread(target=call, name="afterword-callback", daemon=True).start()


def _call(function: Any, run: TaskRun, exc: BaseException | None) -> None:
    result = function(run, exc)
    if inspect.isawaitable(result):
        asyncio.run(_awaited(result))


async def _awaited(result: Any) -> None:
    await result
