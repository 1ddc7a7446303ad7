"""Scrapes of a server all of whose worker threads are taken: that is when the numbers are wanted."""

import threading
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import httpx
import pytest
from fastapi import BackgroundTasks
from prometheus_client.parser import text_string_to_metric_families

from tests.support.in_process import InProcessStage
from tests.support.server import Server
from tests.support.waiting import wait_until

THREADS, REQUESTS = 40, 45


@pytest.mark.slow
def test_a_scrape_needs_no_thread_of_the_forty(stage: InProcessStage):
    """With every worker thread held and callers waiting, a scrape is answered, and says so."""
    app, release = stage.fastapi(), threading.Event()

    @app.get("/held")
    def held() -> None:
        release.wait(60)

    @app.get("/late")
    async def late(tasks: BackgroundTasks) -> None:
        tasks.add_task(release.wait, 60)

    @app.get("/waiting")
    async def count() -> int:
        return anyio.to_thread.current_default_thread_limiter().statistics().tasks_waiting

    stage.instrument(app)
    with Server(app) as server, ThreadPoolExecutor(REQUESTS) as clients:
        held_requests = [clients.submit(httpx.get, f"{server.url}/held", timeout=60) for _ in range(REQUESTS)]
        try:
            wait_until(lambda: httpx.get(f"{server.url}/waiting", timeout=10).json() == REQUESTS - THREADS, 30)
            httpx.get(f"{server.url}/late", timeout=10)
            text = httpx.get(f"{server.url}/metrics", timeout=10).text
        finally:
            release.set()
        assert [request.result().status_code for request in held_requests] == [200] * REQUESTS
    numbers = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert numbers["afterword_worker_thread_busy"] == THREADS
    assert numbers["afterword_worker_thread_limit"] == THREADS
    assert numbers["afterword_worker_thread_waiting"] >= REQUESTS - THREADS
