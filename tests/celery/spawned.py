"""A shop whose worker spawns its children: each imports this module, and is sent a copy of the application."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery, Task

import afterword
from tests.celery import shop

folder = Path(os.environ["SHOP_FOLDER"])
shop.logging_to(folder)
broker, results = os.environ["SHOP_BROKER"], os.environ["SHOP_RESULTS"]
app = Celery("spawned", broker=broker, backend=results, include=["tests.celery.spawned"])
app.conf.update(task_default_queue="shop", worker_redirect_stdouts=False)
afterword.instrument(app, tracer_provider=shop.tracing(folder))


@app.task(name="shop.works")
def works() -> None:
    """Do nothing."""


@app.task(name="shop.publishes")
def publishes() -> None:
    """Publish a task."""
    works.delay()


@app.task(name="shop.fails")
def fails() -> Any:
    """Fail."""
    raise ValueError("no such order")


@app.task(name="shop.retries", bind=True, max_retries=1, default_retry_delay=0)
def retries(self: Task, times: int) -> None:
    """Succeed after so many attempts."""
    if self.request.retries < times:
        raise self.retry(exc=ConnectionError("not yet"))
