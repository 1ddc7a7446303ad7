"""An application that keeps a journal, with a witness that notes by itself what is scheduled and how it ends.

Each note is one write to a file that is opened to append, so that it is there whenever the process is killed. What
is told of the dead comes by the log, in lines of JSON.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal

import structlog
from fastapi import BackgroundTasks, FastAPI

from afterword import TaskObserver, TaskRun, current, instrument, task

MANY = 200


class Witness(TaskObserver):
    """Notes the ids of what was scheduled in this process."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._pid, self._file = 0, -1

    def scheduled(self, run: TaskRun) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            path = os.path.join(self._directory, str(self._pid))
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._file, f"{run.id}\n".encode())

    def ended(self, run: TaskRun) -> None:
        if os.environ.get("DIES_OF") == run.outcome:
            os.kill(os.getpid(), signal.SIGKILL)


structlog.configure(
    processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
    logger_factory=structlog.WriteLoggerFactory(open(os.environ["LINES"], "a", buffering=1)),  # noqa: SIM115
)
app = FastAPI()
instrument(app, observers=[Witness(os.environ["WITNESS"])])


@task("quick")
async def quick() -> None:
    """Be done soon, or fail."""
    await asyncio.sleep(0)
    if random.random() < 0.002:
        raise ValueError("no such mailbox")


@task("long")
async def long() -> None:
    """Hold on for longer than any test lasts, and note if somebody ends it."""
    holding.append(asyncio.current_task())
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        note_cancelled()
        raise


def note_cancelled() -> None:
    """Note the run that this is."""
    run = current()
    assert run is not None
    with open(os.environ["CANCELLED"], "a", encoding="ascii") as file:
        file.write(f"{run.id}\n")


holding: list[asyncio.Task[None] | None] = []


@app.get("/long")
async def hold(tasks: BackgroundTasks) -> None:
    """Schedule a task that holds on, and one behind it that stays pending."""
    tasks.add_task(long)
    tasks.add_task(quick)


@app.get("/cancel")
async def cancel() -> None:
    """Cancel what holds on."""
    for each in holding:
        assert each is not None
        each.cancel()


@app.get("/many")
async def many(tasks: BackgroundTasks) -> int:
    """Schedule many tasks."""
    for _ in range(MANY):
        tasks.add_task(quick)
    return os.getpid()


@app.get("/held")
async def held() -> int:
    """Say who this is."""
    return os.getpid()
