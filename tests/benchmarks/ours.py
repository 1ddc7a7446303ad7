"""The configurations without a peer: bare, by hand, and Afterword's."""

import logging
import os
import tempfile
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Request
from prometheus_client import CollectorRegistry

from tests.benchmarks.shop import furnish, quiet_app
from tests.benchmarks.surroundings import log_into_nothing, trace_into_nothing

JOURNALS = "BENCHMARK_JOURNALS"
"""Names the directory that journals are made in."""


def _surround(*, sampled: bool = True, debug: bool = False) -> Any:
    log_into_nothing(logging.DEBUG if debug else logging.INFO)
    return trace_into_nothing(sampled=sampled)


def _meter_provider() -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


def _native_app(provider: Any) -> FastAPI:
    """Make an application whose requests and tasks FastAPI traces, and no more."""
    return FastAPI(telemetry={"tracer_provider": provider, "metrics": False, "logs": False})


def bare() -> FastAPI:
    """Nothing observes the tasks."""
    _surround()
    return furnish(quiet_app())


def furnish_by_hand(app: FastAPI, metrics: Any) -> FastAPI:
    """Give an application endpoints whose tasks are observed by hand."""
    from tests.benchmarks.handwritten import ObservedTasks

    async def observed_tasks(request: Request, tasks: BackgroundTasks) -> ObservedTasks:
        return ObservedTasks(request, tasks, metrics)

    return furnish(app, Annotated[ObservedTasks, Depends(observed_tasks)], ObservedTasks.task)


def lean() -> FastAPI:
    """Observe the tasks by hand, and tell less of them."""
    from tests.benchmarks.lean import LeanMetrics, LeanTasks

    _surround()
    metrics = LeanMetrics(CollectorRegistry())

    async def lean_tasks(tasks: BackgroundTasks) -> LeanTasks:
        return LeanTasks(tasks, metrics)

    return furnish(quiet_app(), Annotated[LeanTasks, Depends(lean_tasks)], LeanTasks.task)


def by_hand(*, otel: bool = False, native: bool = False, scrape: bool = False, **surroundings: bool) -> FastAPI:
    """Observe the tasks by hand."""
    from tests.benchmarks.handwritten_metrics import OpenTelemetryMetrics, PrometheusMetrics

    provider = _surround(**surroundings)
    registry = CollectorRegistry()
    metrics = OpenTelemetryMetrics(_meter_provider()) if otel else PrometheusMetrics(registry)
    app = furnish_by_hand(_native_app(provider) if native else quiet_app(), metrics)
    if scrape:
        from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
        from starlette.responses import Response

        @app.get("/metrics")
        def expose() -> Response:
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def afterword(
    *,
    otel: bool = False,
    native: bool = False,
    scrape: bool = False,
    observers: int = 0,
    signals: str = "traces metrics logs",
    kept: str | None = None,
    **surroundings: bool,
) -> FastAPI:
    """Let Afterword observe the tasks."""
    from afterword import TaskObserver, TaskRun, instrument

    class Listener(TaskObserver):
        """Somebody who listens to everything."""

        def scheduled(self, run: TaskRun) -> None: ...

        def started(self, run: TaskRun) -> None: ...

        def ended(self, run: TaskRun) -> None: ...

    provider = _surround(**surroundings)
    app = furnish(_native_app(provider) if native else quiet_app())
    options: dict[str, Any] = {"meter_provider": _meter_provider(), "registry": None} if otel else {}
    options |= {signal: signal in signals for signal in ("traces", "metrics", "logs")}
    if not otel:
        options["registry"] = CollectorRegistry()
    if not scrape:
        options["metrics_path"] = None
    listeners: list[TaskObserver] = [Listener() for _ in range(observers)]
    if kept == "journal":
        from afterword._common.own_thread import Upkeep

        # it works by the clock, which callgrind stretches: not the cost of a task
        Upkeep.start = lambda _: None  # type: ignore[method-assign]
        options["journal"] = tempfile.mkdtemp(dir=os.environ.get(JOURNALS))
    elif kept == "memory":
        from afterword._ledger.recent import RecentRuns

        listeners.insert(0, RecentRuns())
    instrument(app, observers=listeners, **options)
    return app


class Toggled:
    """One application that is bare, beside an instrumented one, or instrumented, by turns in one process."""

    MODES = ("bare", "beside", "instrumented")

    def __init__(self) -> None:
        _surround()
        self.app, self._other = furnish(quiet_app()), furnish(quiet_app())
        self._registry = CollectorRegistry()

    def turn(self, mode: str) -> None:
        """Change the mode."""
        from afterword import instrument, uninstrument

        uninstrument(self.app)
        uninstrument(self._other)
        if mode != "bare":
            app = self.app if mode == "instrumented" else self._other
            instrument(app, registry=self._registry, metrics_path=None)
