"""Drives an application by its ASGI interface alone, and reads the clocks."""

import asyncio
import gc
import time
from typing import Any


def http_scope(path: str) -> dict[str, Any]:
    """Make the ASGI scope of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"benchmark"), (b"accept", b"*/*"), (b"user-agent", b"benchmark")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def receive() -> dict[str, Any]:
    """Be a request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_: Any) -> None:
    """Take the response."""


async def request(app: Any, path: str) -> int:
    """Send one request, wait for its tasks, return the status."""
    statuses = []

    async def keep(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(http_scope(path), receive, keep)
    return statuses[0]


async def repeat(app: Any, path: str, times: int) -> dict[str, float]:
    """Send a request so many times; return the microseconds that one took, of CPU time and by the wall clock."""
    gc.collect(1)
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(times):
        await app(http_scope(path), receive, send)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    return {"cpu": cpu / times / 1000, "wall": wall / times / 1000}


async def hold(app: Any, count: int) -> list[asyncio.Task[Any]]:
    """Put so many tasks in flight, each behind a request of its own."""
    holding = [asyncio.create_task(app(http_scope("/hold/1"), receive, send)) for _ in range(count)]
    while app.state.gate.waiting < count:  # noqa: ASYNC110  the tasks count; nobody is to wake us up
        await asyncio.sleep(0.01)
    return holding
