"""An application that keeps a journal, with a witness that notes by itself what is scheduled and how it ends.

Each note is one write to a file that is opened to append, so that it is there whenever the process is killed. What
is told of the dead comes by the log, in lines of JSON.
"""

from __future__ import annotations

import asyncio
import os
import random

import structlog
from fastapi import BackgroundTasks, FastAPI

from afterword import TaskObserver, TaskRun, instrument, task

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
