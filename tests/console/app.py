"""An application whose tasks end in every way, for a browser to look at. Its texts would like to be markup."""

from __future__ import annotations

import asyncio
import os

from fastapi import BackgroundTasks, FastAPI, HTTPException

from afterword import instrument, task

from .hostile import SCRIPT

app = FastAPI()
instrument(app)
held: list[asyncio.Event] = []


@task("mail.send")
async def send() -> None:
    """Do a little."""
    await asyncio.sleep(0.002)


@task("audit.write")
def write() -> None:
    """Work in a thread."""


@task("pictures.shrink")
async def shrink() -> None:
    """Fail."""
    raise ValueError("cannot identify image file")


@task("pictures.publish")
async def publish() -> None:
    """Be skipped."""


@task("report.build")
async def build() -> None:
    """Hold on until it is let go."""
    event = asyncio.Event()
    held.append(event)
    await event.wait()


@task(f"evil.{SCRIPT}")
async def evil() -> None:
    """Fail with markup."""
    raise RuntimeError(f"{SCRIPT} is not {SCRIPT}")


@task("errors.raise")
async def breaks(number: int) -> None:
    """Fail with an error of its own type."""
    raise type(f"Error{number}", (Exception,), {})


@app.get("/pid")
async def pid() -> int:
    """Say which process this is."""
    return os.getpid()


@app.post("/orders/{number}")
async def order(number: int, tasks: BackgroundTasks) -> None:
    """Let two succeed."""
    tasks.add_task(send)
    tasks.add_task(write)


@app.post("/orders/{number}/refund")
async def refund(number: int, tasks: BackgroundTasks) -> None:
    """Drop one, for an error."""
    tasks.add_task(write)
    raise TypeError("no such refund")


@app.post("/orders/{number}/cancel")
async def cancel(number: int, tasks: BackgroundTasks) -> None:
    """Drop one, for an answer of 409."""
    tasks.add_task(send)
    raise HTTPException(409)


@app.post("/pictures")
async def picture(tasks: BackgroundTasks) -> None:
    """Let one fail, so that another is skipped."""
    tasks.add_task(shrink)
    tasks.add_task(publish)


@app.post("/errors/{number}")
async def errors(number: int, tasks: BackgroundTasks) -> None:
    """Let one fail with an error of its own type."""
    tasks.add_task(breaks, number)


@app.post("/forgotten")
async def forgotten() -> None:
    """Abandon one: nothing is attached to the response."""
    BackgroundTasks().add_task(send)


@app.post("/reports")
async def report(tasks: BackgroundTasks) -> int:
    """Begin one that holds on."""
    tasks.add_task(build)
    return os.getpid()


@app.post("/reports/release")
async def release() -> None:
    """Let those of this process go."""
    while held:
        held.pop().set()


@app.post(f"/{SCRIPT}/{{thing}}")
async def hostile(thing: str, tasks: BackgroundTasks) -> None:
    """Fail with markup, on a route of markup."""
    tasks.add_task(evil)
