"""The same small application in several set-ups; each server process builds one of them by name."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from fastapi import BackgroundTasks, FastAPI, HTTPException

from afterword import TaskObserver, configure, instrument
from afterword.logs import OpenTelemetryLogs
from tests.otlp import plain_app
from tests.support.versions import NATIVE_TELEMETRY


async def slow() -> None:
    """Run until the test has seen the server begin to stop, and somewhat longer."""
    while not os.path.exists(os.environ["SLOW_UNTIL"]):  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.02)


async def careful() -> None:
    """Run until it is cancelled, and clean up."""
    try:
        await asyncio.sleep(600)
    finally:
        await asyncio.sleep(0.05)
        print("cleaned up", flush=True)


async def stubborn() -> None:
    """Run until it is cancelled, and then go on for longer than anybody waits."""
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        await asyncio.sleep(600)


async def behind() -> None:
    """Stand behind another task."""


def build(**options: Any) -> FastAPI:
    """Make the application that knows nothing of us, with a slow task."""
    app = FastAPI(**options)

    app.include_router(plain_app.router)

    @app.get("/slow")
    async def start_slow(tasks: BackgroundTasks) -> None:
        tasks.add_task(slow)

    @app.get("/careful")
    async def start_careful(tasks: BackgroundTasks) -> None:
        tasks.add_task(careful)
        tasks.add_task(behind)

    @app.get("/stubborn")
    async def start_stubborn(tasks: BackgroundTasks) -> None:
        tasks.add_task(stubborn)

    @app.get("/unanswered")
    async def wait(tasks: BackgroundTasks) -> None:
        tasks.add_task(behind)
        await careful()

    @app.get("/detached")
    async def detach(tasks: BackgroundTasks) -> None:
        tasks.add_task(careful)
        app.state.detached = asyncio.create_task(tasks())
        await asyncio.sleep(0.01)
        raise HTTPException(404)

    return app


def configured(*observers: TaskObserver) -> FastAPI:
    """Set up by `configure()` and the environment."""
    configure("otlp-test")
    app = build()
    instrument(app, observers=observers)
    return app


class Raising:
    """Stands for a provider, a tracer, a meter or a logger of which nothing works."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(f"{name} does not work")

        return refuse


class Made:
    """A provider that makes what raises later, when it is used."""

    def _make(self, *args: Any, **kwargs: Any) -> Raising:
        return RaisingLater()

    get_tracer = get_meter = get_logger = _make


class RaisingLater(Raising):
    """Instruments can be made; recording anything raises."""

    def _make(self, *args: Any, **kwargs: Any) -> Raising:
        return Raising()

    create_counter = create_histogram = create_observable_counter = create_observable_gauge = _make
    create_observable_up_down_counter = create_up_down_counter = create_gauge = _make


def _with(provider: Any) -> FastAPI:
    quiet = {"tracing": False, "metrics": False, "logs": False}
    app = build(**({"telemetry": quiet} if NATIVE_TELEMETRY else {}))
    app.__dict__["_is_instrumented_by_opentelemetry"] = True  # contrib breaks by itself with such a tracer
    instrument(
        app,
        tracer_provider=provider,
        meter_provider=provider,
        observers=[OpenTelemetryLogs(logger_provider=provider)],
    )
    return app


def with_raising_providers() -> FastAPI:
    """Give it providers of which nothing works."""
    return _with(Raising())


def with_raising_instruments() -> FastAPI:
    """Give it providers whose tracers, meters and loggers do not work."""
    return _with(Made())


def configured_with_logs() -> FastAPI:
    """Set it up by `configure()`, and tell the events to OpenTelemetry's logs, too."""
    return configured(OpenTelemetryLogs())
