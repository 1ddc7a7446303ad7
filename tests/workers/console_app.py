"""An application with a console, which says in each answer who it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from fastapi import BackgroundTasks, FastAPI, Request, Response

from afterword import instrument, runs, task

app = FastAPI()
instrument(app, console="/afterword", journal=os.environ.get("JOURNAL"))


@app.middleware("http")
async def say_who(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Say which process answers."""
    response = await call_next(request)
    response.headers["x-pid"] = str(os.getpid())
    return response


@task("quick")
async def quick() -> None:
    """Be done at once."""


@task("endless")
async def endless() -> None:
    """Be at it until the process ends."""
    await asyncio.sleep(3600)


@app.get("/quick")
async def schedule_quick(tasks: BackgroundTasks) -> list[str]:
    """Schedule a task that ends at once, and say its id."""
    tasks.add_task(quick)
    return [run.id for run in runs(tasks)]


@app.get("/endless")
async def schedule_endless(tasks: BackgroundTasks) -> list[str]:
    """Schedule a task that does not end, and say its id."""
    tasks.add_task(endless)
    return [run.id for run in runs(tasks)]


@app.get("/held")
async def held() -> int:
    """Say who this is."""
    return os.getpid()
