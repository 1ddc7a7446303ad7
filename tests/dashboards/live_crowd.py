"""An application with as many background tasks as ``PICTURES_TASKS`` says: one, or eighty.

The names are as long, and as alike in front, as those of a real application are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from itertools import product

from fastapi import BackgroundTasks, FastAPI

from afterword import instrument, task

_PARTS = ("billing", "catalogue", "delivery", "returns", "stock", "suppliers", "tax", "warehouse")
_VERBS = (
    "archive_old_documents",
    "book_entries",
    "export_monthly_report",
    "make_thumbnails",
    "notify",
    "recompute_totals_of_open_orders",
    "refresh_search_index",
    "send_reminder",
    "synchronise_with_partner",
    "warm_cache",
)
Work = Callable[[int], Awaitable[None]]


def _work(name: str, number: int) -> Work:
    @task(name=name)
    async def work(visit: int) -> None:
        await asyncio.sleep(0.004 * (1 + number % 13) ** 2 * (1 + visit % 3))
        if number % 7 == 3 and visit % 4 == 0:
            raise TimeoutError(f"the partner of {name} does not answer")

    return work


def create_app(count: int) -> FastAPI:
    """Return an application with so many tasks; each visit schedules some, and a failure skips those behind it."""
    names = [f"depot.services.{part}.tasks.{verb}" for part, verb in product(_PARTS, _VERBS)][:count]
    works = [_work(name, number) for number, name in enumerate(names, start=3)]
    app = FastAPI()
    instrument(app)

    @app.post("/visits/{visit}")
    async def visits(visit: int, background: BackgroundTasks) -> None:
        for step in range(min(4, count)):
            background.add_task(works[(visit * 5 + step * 17) % count], visit)

    @app.get("/health")
    async def health() -> None:
        pass

    return app


app = create_app(int(os.environ.get("PICTURES_TASKS", "1")))
