"""An application for several workers: one task is done at once, another holds on until it is let go."""

import asyncio
import os

from fastapi import BackgroundTasks, FastAPI

from afterword import instrument, running, task

app = FastAPI()
instrument(app)


@task("quick")
async def quick() -> None:
    """Be done at once."""


@task("long")
async def long() -> None:
    """Hold on for longer than any test lasts."""
    await asyncio.sleep(600)


@app.get("/quick")
async def schedule_quick(tasks: BackgroundTasks) -> int:
    """Schedule a quick task."""
    tasks.add_task(quick)
    return os.getpid()


@app.get("/many")
async def schedule_many(tasks: BackgroundTasks) -> int:
    """Schedule many quick tasks, so that whoever is killed just now is busy counting."""
    for _ in range(200):
        tasks.add_task(quick)
    return os.getpid()


@app.get("/long")
async def schedule_long(tasks: BackgroundTasks) -> int:
    """Schedule a task that holds on, and one behind it that stays pending."""
    tasks.add_task(long)
    tasks.add_task(quick)
    return os.getpid()


@app.get("/held")
async def held() -> dict[str, int]:
    """Say who this is and how many tasks it runs."""
    return {"pid": os.getpid(), "running": len(running())}
