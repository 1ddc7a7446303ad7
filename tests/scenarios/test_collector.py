"""The garbage collector destroys a suspended request at the worst of moments."""

import asyncio
import contextlib
import gc
import logging
import threading
import weakref
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from prometheus_client import CollectorRegistry

from afterword._ledger import deferred as lifetimes
from tests.support.asgi import http_scope
from tests.support.comparison import Comparison
from tests.support.stage import named
from tests.support.story import cancelled, failed, skipped
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def swept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sweeper not wait for others to drain: nobody else does, here."""
    monkeypatch.setattr(lifetimes, "_SWEEP_SECONDS", 0.01)


def suspend_and_forget(app: FastAPI, begun: asyncio.Event) -> None:
    """Call an application until its task is suspended, then stop the loop and drop every reference."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    async def until_begun() -> None:
        request = asyncio.ensure_future(app(http_scope("/"), receive, send))
        await begun.wait()
        request._log_destroy_pending = False  # it is what this test is about

    loop = asyncio.new_event_loop()
    loop.run_until_complete(until_begun())
    loop.close()


def metric_locks(registry: CollectorRegistry) -> list[Any]:
    """Return every lock that a scrape or an increment would take."""
    metrics = [metric for metric in registry._collector_to_names if hasattr(metric, "_lock")]
    children = [child for metric in metrics for child in getattr(metric, "_metrics", {}).values()]
    values = [getattr(child, "_value", None) for child in children]
    holders = [registry, *metrics, *values]
    return [holder._lock for holder in holders if hasattr(holder, "_lock")]


def test_a_request_destroyed_inside_a_metrics_lock_is_cancelled(comparison: Comparison):
    """A request collected by a thread that holds the metrics' locks is cancelled, without a deadlock."""
    begun = asyncio.Event()
    stage = comparison.stage()
    app = stage.fastapi()

    @named("mail")
    async def mail() -> None:
        begun.set()
        await asyncio.Future()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(mail)
        tasks.add_task(stage.works("audit"))

    stage.instrument(app)

    def collect_inside_the_locks() -> None:
        with contextlib.ExitStack() as locks:
            for lock in metric_locks(comparison.accounts.prometheus.registry):
                locks.enter_context(lock)
            gc.collect()
        collected.set()

    collected = threading.Event()
    gc.disable()
    try:
        suspend_and_forget(app, begun)
        assert not comparison.accounts.recorder.ended_runs
        threading.Thread(target=collect_inside_the_locks, daemon=True).start()
        assert collected.wait(10), "deadlock"
    finally:
        gc.enable()
    comparison.expect(cancelled("mail"), skipped("audit", "earlier_task_cancelled"))


def test_nothing_is_kept_of_a_destroyed_request(comparison: Comparison, monkeypatch: pytest.MonkeyPatch):
    """What a suspended task had in its hands is free when its request has been destroyed."""
    # contrib's own tear-down is logged with a traceback, which pytest would keep, frames and all
    monkeypatch.setattr(logging.getLogger("opentelemetry.context"), "disabled", True)
    begun = asyncio.Event()
    stage = comparison.stage()
    app = stage.fastapi()

    class Payload:
        pass

    alive: list[Any] = []

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        payload = Payload()
        alive.append(weakref.ref(payload))
        tasks.add_task(named("mail")(wait_forever), payload)

    async def wait_forever(payload: Payload) -> None:
        begun.set()
        await asyncio.Future()

    stage.instrument(app)
    suspend_and_forget(app, begun)
    gc.collect()
    comparison.expect(cancelled("mail"))
    wait_until(lambda: gc.collect() >= 0 and alive[0]() is None)


def test_an_alert_that_is_destroyed_is_cancelled(comparison: Comparison):
    """A suspended ``on_task_failure`` that is collected ends as a task does: cancelled, and nothing is raised."""
    begun = asyncio.Event()
    stage = comparison.stage()
    app = stage.fastapi()

    @named("alert")
    async def alert(run: Any, exc: Any) -> None:
        begun.set()
        await asyncio.Future()

    @app.get("/")
    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.fails("mail"))
        tasks.add_task(stage.works("audit"))

    stage.instrument(app, on_task_failure=[alert])
    suspend_and_forget(app, begun)
    gc.collect()
    comparison.expect(failed("mail"), cancelled("alert"), skipped("audit"))
