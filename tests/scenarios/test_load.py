"""Ten thousand requests, two hundred at a time."""

import asyncio

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException

from tests.support.comparison import Comparison
from tests.support.stage import Stage
from tests.support.story import HTTP_EXCEPTION, dropped, failed, request_error, skipped, succeeded
from tests.support.telemetry_modes import MODES

REQUESTS, CONNECTIONS = 10_000, 200
ALONE = [mode for mode in MODES if not mode.native][:1]
KINDS = ("works", "thread", "broken", "fails")


def build(stage: Stage) -> FastAPI:
    """Build an application whose requests and tasks work and fail in several ways."""
    app = stage.fastapi()

    @app.get("/works")
    async def works(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))

    @app.get("/thread")
    def thread(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works_in_thread("report"))

    @app.get("/broken")
    async def broken(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise HTTPException(404)

    @app.get("/fails")
    async def fails(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        tasks.add_task(stage.fails("invoice", HTTPException(404)))
        tasks.add_task(stage.works("audit"))

    return app


async def client(port: int, requests: int, offset: int) -> int:
    """Send requests on one connection, reconnecting when the server has closed it; count the answers."""
    answers, connection = 0, None
    for number in range(requests):
        kind = KINDS[(number + offset) % len(KINDS)]
        if connection is None:
            connection = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = connection
        writer.write(f"GET /{kind} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        answers += 1
        if kind == "fails":  # an error that reaches the server makes it close the connection
            writer.close()
            connection = None
    if connection is not None:
        connection[1].close()
    return answers


async def storm(port: int) -> int:
    """Run all the connections at once; count the answers."""
    each = REQUESTS // CONNECTIONS
    return sum(await asyncio.gather(*(client(port, each, offset) for offset in range(CONNECTIONS))))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("telemetry_mode", ALONE, indirect=True, ids=lambda mode: mode.name)
def test_the_law_holds_under_load(comparison: Comparison):
    """After ten thousand concurrent requests not one task is missing from any account."""
    quarter = REQUESTS // len(KINDS)
    stage = comparison.stage()
    app = build(stage)
    stage.instrument(app)
    with stage.serve(app) as server:
        assert asyncio.run(storm(server.port)) == REQUESTS
        comparison.expect(
            *[succeeded("mail")] * (2 * quarter),
            *[succeeded("report")] * quarter,
            *[dropped("mail"), request_error(404, HTTP_EXCEPTION, "/broken")] * quarter,
            *[failed("invoice", HTTP_EXCEPTION), skipped("audit")] * quarter,
            deadline=30,
        )
    assert stage.did.count("report") == quarter
