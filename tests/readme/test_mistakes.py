"""The example shop's mistakes on purpose are met by the demo's customers."""

import asyncio
from pathlib import Path

import httpx
import pytest

from examples.demo.mailserver import Mailroom, serve
from examples.demo.process import ShopProcess, free_port
from examples.demo.samples import lines
from examples.demo.visitors import visits
from tests.support.mistakes import mistakes
from tests.support.waiting import SECONDS, wait_until_async

pytestmark = pytest.mark.slow

EVENT = "background_task."


async def visited(directory: Path, wanted: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Open the shop, send each customer once, and return what is told of its tasks, when it is or in the end."""
    log = directory / "shop.log"

    def told() -> set[tuple[str, str, str]]:
        return {
            (
                line["task"].rpartition(".")[2],
                line["event"].removeprefix(EVENT),
                f"{line['http_method']} {line['http_route']}",
            )
            for line in lines(log)
            if line["event"].startswith(EVENT) and "http_route" in line
        }

    async with await serve(Mailroom()) as mail_server:
        port = str(mail_server.sockets[0].getsockname()[1])
        environment = {"SHOP_DIRECTORY": str(directory), "SHOP_SMTP_HOST": "127.0.0.1", "SHOP_SMTP_PORT": port}
        async with ShopProcess(free_port(), log, environment) as shop:
            once = httpx.Limits(max_keepalive_connections=0)  # uvicorn hangs up after a failed task
            async with httpx.AsyncClient(
                base_url=shop.url, limits=once, timeout=SECONDS, trust_env=False
            ) as client:
                for visit in visits():
                    response = await client.request(visit.method, visit.path, **visit.content)
                    assert response.status_code == visit.status, visit.name
            try:
                await asyncio.wait_for(wait_until_async(lambda: wanted <= told()), SECONDS)
            except TimeoutError:
                return told()
    return told()


def test_each_mistake_is_met(tmp_path: Path):
    """The shop's log says of each mistake of `make demo` what the list says, after one round of customers."""
    wanted = {
        (mistake.task, mistake.told, mistake.request or "")
        for mistake in mistakes()
        if mistake.command == "make demo"
    }
    assert len(wanted) == 8
    assert wanted - asyncio.run(visited(tmp_path, wanted)) == set()
