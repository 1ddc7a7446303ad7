"""The end of a server: what it cancels when its grace is over gets the time to clean up, and is accounted for.

A server cancels what still runs, ends the lifespan and then the process, all at once: a task whose clean-up awaits
anything would not come to its end, and nobody be told. The end of the lifespan is the last moment that waits.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from .._ledger.runs import unended
from . import state as request
from .execution import run_in

SECONDS: Final = 5.0
"""For how long the end waits, at most: the grace is over, and a supervisor kills what takes too long."""


async def let_cancelled_end() -> None:
    """Wait for the requests and tasks of ours that are being cancelled; not for those that just go on."""
    if not unended():
        return
    try:
        cancelled = [task for task in asyncio.all_tasks() if _is_cancelled(task) and _concerns_us(task)]
    except Exception:  # noqa: BLE001  no loop of asyncio's, as under trio, or tasks that are none of asyncio's
        return
    if cancelled:
        await asyncio.wait(cancelled, timeout=SECONDS)


def _is_cancelled(task: asyncio.Task[Any]) -> bool:
    return task.cancelling() > 0 and task is not asyncio.current_task()


def _concerns_us(task: asyncio.Task[Any]) -> bool:
    """Return whether a task of the loop has runs that have not ended; where it keeps its context, perhaps."""
    get_context = getattr(task, "get_context", None)  # Python >= 3.12
    if get_context is None:
        return True
    context = get_context()
    scope, run = request.of(context), run_in(context)
    return bool(scope is not None and scope.runs) or bool(run is not None and run.outcome is None)
