"""The application that is soaked: tasks of every outcome, on workers that share their numbers."""

from __future__ import annotations

import asyncio
import os

from fastapi import BackgroundTasks, FastAPI, HTTPException
from starlette.background import BackgroundTask

from afterword import configure, instrument

app = FastAPI()
if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
    configure()
instrument(app, journal=os.environ.get("SOAK_JOURNAL") or None)


async def mail() -> None:
    """Work on the event loop."""
    await asyncio.sleep(0)


def thumbnail() -> None:
    """Work in a thread."""


async def report() -> None:
    """Fail."""
    raise ValueError("boom")


@app.get("/works")
async def works(tasks: BackgroundTasks) -> int:
    """Schedule two that succeed."""
    tasks.add_task(mail)
    tasks.add_task(thumbnail)
    return os.getpid()


@app.get("/fails")
async def fails(tasks: BackgroundTasks) -> int:
    """Schedule one that fails, and one that is skipped for it."""
    tasks.add_task(report)
    tasks.add_task(mail)
    return os.getpid()


@app.get("/refused")
async def refused(tasks: BackgroundTasks) -> None:
    """Schedule one that is dropped."""
    tasks.add_task(mail)
    raise HTTPException(409)


@app.get("/forgets")
async def forgets() -> int:
    """Schedule one that is abandoned."""
    BackgroundTask(thumbnail)
    return os.getpid()
