"""How long a scrape holds up other requests: ours, rendered off the event loop, and prometheus_client's own app.

``python -m tests.benchmarks.scrape_delay`` serves an application with 200 task names under uvicorn, sends requests
one after the other, scrapes in turns from the one and the other address, and prints the latencies meanwhile.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator

import httpx
from fastapi import BackgroundTasks, FastAPI
from prometheus_client import make_asgi_app

from afterword import instrument, task
from examples.demo.process import free_port
from tests.workers.servers import ROOT

NAMES, ROUNDS = 200, 30
ADDRESSES = {"Afterword": "/metrics", "prometheus_client": "/theirs/"}

app = FastAPI(**({"telemetry": {"tracing": False, "metrics": False, "logs": False}}))
instrument(app, logs=False)
app.mount("/theirs", make_asgi_app())


def make(number: int) -> object:
    """Make one task of many."""

    @task(f"task_{number}")
    async def work() -> None: ...

    return work


@app.get("/fill")
async def fill(tasks: BackgroundTasks) -> None:
    """Give every task name its series."""
    for number in range(NAMES):
        tasks.add_task(make(number))


@app.get("/")
async def root() -> None:
    """Answer at once."""


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    """Serve this module's application and yield its address."""
    port = free_port()
    module = "tests.benchmarks.scrape_delay:app"
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--loop", "asyncio", "--http", "h11"),  # whatever else is installed
        *("--port", str(port), "--log-level", "error", module),
        cwd=ROOT,
        env={"AFTERWORD_MAX_TASK_NAMES": str(NAMES)},
    )
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            for _ in range(200):
                with contextlib.suppress(httpx.HTTPError):
                    await client.get(f"http://127.0.0.1:{port}/")
                    break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), 10)


async def latencies_during(client: httpx.AsyncClient, scrape: str | None) -> tuple[list[float], float]:
    """Send requests while one scrape runs; return how long each took, and the scrape, in milliseconds."""
    began = time.perf_counter()
    scraping = asyncio.ensure_future(client.get(scrape)) if scrape else asyncio.ensure_future(asyncio.sleep(0.1))
    took = []
    while not scraping.done() or not took:
        before = time.perf_counter()
        await client.get("/")
        took.append((time.perf_counter() - before) * 1000)
    await scraping
    return took, (time.perf_counter() - began) * 1000


async def main() -> None:
    """Measure in turns, and print."""
    async with served() as address, httpx.AsyncClient(base_url=address, timeout=30) as client:
        await client.get("/fill")
        worst: dict[str, list[float]] = {name: [] for name in ("no scrape", *ADDRESSES)}
        scrapes: dict[str, list[float]] = {name: [] for name in worst}
        for _ in range(ROUNDS):
            for name, longest in worst.items():
                took, scrape = await latencies_during(client, ADDRESSES.get(name))
                longest.append(max(took))
                scrapes[name].append(scrape)
        for name, values in worst.items():
            quartiles = statistics.quantiles(values, n=4)
            print(
                f"{name:18} longest request, median over {ROUNDS} scrapes {quartiles[1]:6.1f} ms "
                f"(quartiles {quartiles[0]:.1f} to {quartiles[2]:.1f}); "
                f"scrape {statistics.median(scrapes[name]):6.1f} ms"
            )


if __name__ == "__main__":
    asyncio.run(main())
