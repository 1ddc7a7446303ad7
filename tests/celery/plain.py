"""A shop that has never heard of Afterword: who publishes by hand and by beat, and what a worker runs."""

from __future__ import annotations

import os

from celery import Celery
from fastapi import FastAPI

app = Celery("plain", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_RESULTS"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_queue="plain",
    beat_schedule={"often": {"task": "plain.tidy_up", "schedule": 0.5}},
)
web = FastAPI()


@app.task(name="plain.send_receipt", bind=True, max_retries=1, default_retry_delay=0)
def send_receipt(self) -> None:
    """Succeed at the second attempt."""
    if not self.request.retries:
        raise self.retry(countdown=0)


@app.task(name="plain.tidy_up")
def tidy_up() -> None:
    """Do nothing."""


@web.get("/orders")
async def order() -> None:
    """Publish a task."""
    send_receipt.delay()


@web.get("/up")
async def up() -> None:
    """Say that the server answers."""
