"""An application that has never heard of Afterword, nor of OpenTelemetry."""

import asyncio

import structlog
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException

router = APIRouter()


async def send_mail() -> None:
    """Do a little, asynchronously."""
    await asyncio.sleep(0)
    structlog.get_logger().info("mail sent")


def resize_picture() -> None:
    """Do a little, in a thread."""


def charge_card() -> None:
    """Fail."""
    raise ValueError("the card is declined")


@router.get("/good")
async def good(tasks: BackgroundTasks) -> None:
    """Schedule what succeeds."""
    tasks.add_task(send_mail)
    tasks.add_task(resize_picture)


@router.get("/bad")
async def bad(tasks: BackgroundTasks) -> None:
    """Schedule what fails, and what is skipped behind it."""
    tasks.add_task(charge_card)
    tasks.add_task(send_mail)


@router.get("/refused")
async def refused(tasks: BackgroundTasks) -> None:
    """Schedule what is dropped."""
    tasks.add_task(send_mail)
    raise HTTPException(409)


@router.get("/up")
async def up() -> None:
    """Say that the server answers."""


app = FastAPI()
app.include_router(router)
