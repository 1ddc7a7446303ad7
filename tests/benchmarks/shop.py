"""The application that is measured: one endpoint for each way to call tasks that do nothing."""

# no `from __future__ import annotations`: the endpoints' annotations are values of this module's functions

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import BackgroundTasks, FastAPI
from starlette.background import BackgroundTask

QUIET = {"tracing": False, "metrics": False, "logs": False}
"""FastAPI's own telemetry, switched off."""


async def job(_: int) -> None:
    """Do nothing, awaited."""


def thread_job(_: int) -> None:
    """Do nothing, in a worker thread."""


async def failing_job(_: int) -> None:
    """Fail, awaited."""
    raise ValueError("boom")


def failing_thread_job(_: int) -> None:
    """Fail, in a worker thread."""
    raise ValueError("boom")


def _numbered(number: int) -> Callable[..., Any]:
    async def numbered(_: int) -> None: ...

    numbered.__name__ = numbered.__qualname__ = f"job_{number}"
    return numbered


JOBS = [_numbered(number) for number in range(200)]


class Gate:
    """Holds tasks in flight until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0

    async def wait(self, _: int) -> None:
        """Be a task in flight."""
        self.waiting += 1
        await self.opened.wait()


def quiet_app() -> FastAPI:
    """Make an application without telemetry of FastAPI's own, whatever its version."""
    try:
        return FastAPI(telemetry=QUIET)
    except TypeError:  # before it had any
        return FastAPI()


def _plain_task(_: Any, func: Callable[..., Any], number: int) -> BackgroundTask:
    return BackgroundTask(func, number)


def furnish(app: FastAPI, tasks_type: Any = BackgroundTasks, task: Callable[..., Any] = _plain_task) -> FastAPI:
    """Give an application its endpoints; ``tasks_type`` is what they take, ``task`` makes one to call directly."""
    app.state.gate = gate = Gate()
    app.state.turn = 0

    @app.get("/async/{count}")
    async def schedule(count: int, tasks: tasks_type) -> None:
        for number in range(count):
            tasks.add_task(job, number)

    @app.get("/sync/{count}")
    async def schedule_in_threads(count: int, tasks: tasks_type) -> None:
        for number in range(count):
            tasks.add_task(thread_job, number)

    @app.get("/direct-async/{count}")
    async def call(count: int, tasks: tasks_type) -> None:
        for number in range(count):
            await task(tasks, job, number)()

    @app.get("/direct-sync/{count}")
    async def call_in_threads(count: int, tasks: tasks_type) -> None:
        for number in range(count):
            await task(tasks, thread_job, number)()

    @app.get("/names/{names}/{count}")
    async def schedule_by_turns(names: int, count: int, tasks: tasks_type) -> None:
        for _ in range(count):
            app.state.turn += 1
            tasks.add_task(JOBS[app.state.turn % names], 0)

    @app.get("/fail/{name}/1")
    async def fail(name: str, tasks: tasks_type) -> None:
        tasks.add_task(failing_job if name == "async" else failing_thread_job, 0)

    @app.get("/hold/1")
    async def hold(tasks: tasks_type) -> None:
        tasks.add_task(gate.wait, 0)

    return app
