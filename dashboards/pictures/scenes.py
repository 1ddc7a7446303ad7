"""What the pictures are of: real processes with real traffic, scraped by a real Prometheus.

Three scenes: the example shop, which has all kinds of trouble, and an application with one task, and with eighty.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

from examples.demo.backstage import RedisProcess, WorkerProcess
from examples.demo.mailserver import Mailroom, serve
from examples.demo.process import HOST, Measured, ShopProcess, free_port
from examples.demo.traffic import Traffic
from examples.demo.visitors import Visit, plan, statements

from ..prometheus.server import Prometheus, configuration

SCRAPE = 5
"""Seconds between two scrapes."""
END = "end"
"""The file that says when a scene ended, in seconds since the epoch."""
_RATES = (5, 9, 14, 11, 6, 10)
"""Visits a second, one after the other: a day in minutes."""
_KILLED_AFTER = 0.6
"""The part of the time after which one of the shops is killed, and opened again."""


class CrowdProcess(Measured):
    """The application with as many tasks as are wanted."""

    name = "the application with many tasks"
    _health = "/health"

    def __init__(self, tasks: int, port: int, log: Path) -> None:
        server = ("uvicorn", "tests.dashboards.live_crowd:app", "--host", HOST, "--port", str(port))
        command = (sys.executable, "-m", *server, "--no-access-log", "--log-level", "critical")
        super().__init__(command, port, log, {"PICTURES_TASKS": str(tasks)})


async def _visits(url: str, visits: Iterator[Visit], seconds: float) -> None:
    traffic = Traffic(url, visits)
    for rate in _RATES:
        await traffic.run(seconds / len(_RATES), rate)


def _prometheus(directory: Path, targets: Mapping[str, list[str]]) -> Prometheus:
    return Prometheus(directory, configuration(targets, interval=f"{SCRAPE}s"))


async def shop(directory: Path, seconds: float) -> None:
    """Let customers visit two shops, with a worker of Celery's behind them; kill one on the way."""
    async with await serve(Mailroom()) as mail_server, AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess(directory / "redis"))
        ports = [free_port() for _ in range(3)]
        common = {
            "SHOP_BROKER": redis.url,
            "SHOP_SMTP_HOST": HOST,
            "SHOP_SMTP_PORT": str(mail_server.sockets[0].getsockname()[1]),
            "SHOP_THREADS": "4",
        }

        def one(number: int) -> ShopProcess:
            home = directory / f"shop-{number}"
            home.mkdir(exist_ok=True)
            own = {"SHOP_DIRECTORY": str(home), "AFTERWORD_JOURNAL": str(home / "journal")}
            return ShopProcess(ports[number], home / "shop.log", common | own)

        shops = [await stack.enter_async_context(one(number)) for number in (0, 1)]
        home = directory / "worker"
        home.mkdir()
        own = {"SHOP_DIRECTORY": str(directory / "shop-0"), "AFTERWORD_JOURNAL": str(home / "journal")}
        await stack.enter_async_context(WorkerProcess("worker", ports[2], home, common | own))
        stack.enter_context(_prometheus(directory, {"shop": [f"{HOST}:{port}" for port in ports]}))
        await asyncio.sleep(3 * SCRAPE)

        async def restart() -> None:
            await asyncio.sleep(seconds * _KILLED_AFTER)
            await shops[1].kill()
            await asyncio.sleep(2)
            await stack.enter_async_context(one(1))

        async with asyncio.TaskGroup() as group:
            for process in shops:
                group.create_task(_visits(process.url, plan(more=statements()), seconds))
            group.create_task(restart())


async def crowd(tasks: int, directory: Path, seconds: float) -> None:
    """Visit an application with so many tasks."""
    async with AsyncExitStack() as stack:
        port = free_port()
        process = await stack.enter_async_context(CrowdProcess(tasks, port, directory / "crowd.log"))
        stack.enter_context(_prometheus(directory, {"depot": [f"{HOST}:{port}"]}))
        await asyncio.sleep(3 * SCRAPE)
        visits = (Visit("visit", "POST", f"/visits/{number}", 200, {}) for number in count())
        await _visits(process.url, visits, seconds)


class Scene(NamedTuple):
    """What is played, and the task that the dashboard of one task shows of it."""

    play: Callable[[Path, float], Awaitable[None]]
    task: str


SCENES = {
    "shop": Scene(shop, "examples.shop.tasks.make_thumbnail"),
    "one": Scene(partial(crowd, 1), "depot.services.billing.tasks.archive_old_documents"),
    "eighty": Scene(partial(crowd, 80), "depot.services.tax.tasks.send_reminder"),
}


def play(name: str, directory: Path, seconds: float) -> None:
    """Play a scene in a directory of its own, where Prometheus keeps what it has seen until the end."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    asyncio.run(_play(SCENES[name], directory, seconds))
    (directory / END).write_text(str(int(time.time())))


async def _play(scene: Scene, directory: Path, seconds: float) -> None:
    await scene.play(directory, seconds)
