"""Background tasks observed by hand with the least that is of use: less is told than Afterword tells.

A span with one attribute, four Prometheus metrics and two lines at level info, as many a team has them in a
decorator or a dependency of its own. What is never called is not seen, and no line says why.
"""

import inspect
import time
from collections.abc import Callable
from typing import Any

import structlog
from fastapi import BackgroundTasks
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from tests.benchmarks.handwritten_metrics import BUCKETS

tracer = trace.get_tracer(__name__)
log = structlog.get_logger()


class LeanMetrics:
    """Four metrics with the task's name; the series of a name are looked up once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()
        self._started = Counter("task_started", "started", ["task"], registry=registry)
        self._ended = Counter("task_ended", "ended", ["task", "outcome"], registry=registry)
        self._running = Gauge("task_running", "running", ["task"], registry=registry)
        self._duration = Histogram(
            "task_duration_seconds", "duration", ["task"], registry=registry, buckets=BUCKETS
        )
        self._known: dict[str, tuple[Any, Any, dict[str, Any], Any]] = {}

    def of(self, name: str) -> tuple[Any, Any, dict[str, Any], Any]:
        """Return the series of a name: started, running, ended by outcome, duration."""
        known = self._known.get(name)
        if known is None:
            ended = {outcome: self._ended.labels(name, outcome) for outcome in ("succeeded", "failed")}
            known = self._started.labels(name), self._running.labels(name), ended, self._duration.labels(name)
            self._known[name] = known
        return known


class LeanTasks:
    """Schedules functions behind a response, wrapped."""

    def __init__(self, tasks: BackgroundTasks, metrics: LeanMetrics) -> None:
        self.tasks = tasks
        self.metrics = metrics

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Schedule a function, as ``BackgroundTasks.add_task`` does."""
        self.tasks.add_task(self.observed(func), *args, **kwargs)

    def task(self, func: Callable[..., Any], *args: Any) -> BackgroundTask:
        """Make a single task."""
        return BackgroundTask(self.observed(func), *args)

    def observed(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to schedule in place of a function."""
        name = func.__qualname__
        started, running, ended, durations = self.metrics.of(name)
        is_async = inspect.iscoroutinefunction(func)

        async def call(*args: Any, **kwargs: Any) -> None:
            with tracer.start_as_current_span(f"task {name}", attributes={"task": name}):
                started.inc()
                running.inc()
                log.info("task started", task=name)
                began = time.perf_counter()
                outcome = "failed"
                try:
                    if is_async:
                        await func(*args, **kwargs)
                    else:
                        await run_in_threadpool(func, *args, **kwargs)
                    outcome = "succeeded"
                finally:
                    duration = time.perf_counter() - began
                    running.dec()
                    ended[outcome].inc()
                    durations.observe(duration)
                    log.info("task ended", task=name, outcome=outcome, duration_s=round(duration, 6))

        return call
