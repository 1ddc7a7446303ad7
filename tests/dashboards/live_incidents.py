"""An application with the faults that raise no error of their own, and one whose disk is full."""

import asyncio
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask

from afterword import instrument

app = FastAPI()
instrument(app)


class CarrierUnavailable(Exception):
    """Nobody takes the parcel."""


@app.exception_handler(CarrierUnavailable)
async def answer_all_the_same(request: Request, exc: Exception) -> JSONResponse:
    """Swallow the error."""
    return JSONResponse({"accepted": True})


async def send_reminder() -> None:
    """Succeed."""


async def write_report(seconds: float) -> None:
    """Take so long."""
    await asyncio.sleep(seconds)


async def record_attempt() -> None:
    """Succeed."""


async def print_label() -> None:
    """Succeed."""


def write_invoice() -> None:
    """Write to a disk that is full."""
    with open("/dev/full", "w", encoding="utf-8") as file:
        file.write("an invoice")


def remember(tasks: BackgroundTasks) -> None:
    """Add a task before the body of the request is looked at."""
    tasks.add_task(record_attempt)


@app.get("/health")
async def health() -> None:
    """Answer."""


@app.post("/reminders/{on}")
async def reminders(on: bool, tasks: BackgroundTasks) -> None:
    """Schedule a reminder, unless the feature was switched off; the other task has become slow since."""
    if on:
        tasks.add_task(send_reminder)
    tasks.add_task(write_report, 0.0 if on else 12.0)


@app.post("/orders")
async def orders(number: int, _: Annotated[None, Depends(remember)]) -> None:
    """Take an order that says its number."""


@app.post("/invoices")
async def invoices(tasks: BackgroundTasks) -> None:
    """Write an invoice after the answer."""
    tasks.add_task(write_invoice)


@app.post("/parcels")
async def parcels(tasks: BackgroundTasks) -> None:
    """Send a parcel, which nobody takes."""
    tasks.add_task(send_reminder)
    raise CarrierUnavailable("no carrier")


@app.post("/labels")
async def labels(tasks: BackgroundTasks) -> Response:
    """Print a label, and return a response whose own background takes the place of that."""
    tasks.add_task(print_label)
    return Response(background=BackgroundTask(record_attempt))
