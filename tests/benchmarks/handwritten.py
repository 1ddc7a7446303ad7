"""Background tasks observed by hand: the same spans, log lines and metrics, with the public APIs alone.

This is what an experienced colleague writes into an application without Afterword: a dependency to take instead of
``BackgroundTasks``. It sees what it schedules itself, and what of that is called; no more.
"""

import asyncio
import inspect
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from fastapi import BackgroundTasks, Request
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode, format_span_id, format_trace_id
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

tracer = trace.get_tracer(__name__)
log = structlog.get_logger()


def error_type_of(exc: BaseException) -> str:
    """Return the type of an exception as OpenTelemetry names it."""
    cls = type(exc)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


class ObservedTasks:
    """Schedules functions behind a response, and tells what becomes of them. One for each request."""

    def __init__(self, request: Request, tasks: BackgroundTasks, metrics: Any) -> None:
        self.tasks = tasks
        self.metrics = metrics
        self.method = request.method
        self.route = request.scope["route"].path
        self.request_id = request.headers.get("x-request-id")
        self.count = 0

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Schedule a function, as ``BackgroundTasks.add_task`` does."""
        self.tasks.add_task(self.observed(func), *args, **kwargs)

    def task(self, func: Callable[..., Any], *args: Any) -> BackgroundTask:
        """Make a single task."""
        return BackgroundTask(self.observed(func), *args)

    def observed(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to schedule in place of a function."""
        run = ObservedRun(func, self, self.count)
        self.count += 1
        return run.call


class ObservedRun:
    """One scheduling of a function."""

    def __init__(self, func: Callable[..., Any], request: ObservedTasks, index: int) -> None:
        self.func = func
        self.name = f"{func.__module__}.{func.__qualname__}"
        self.request = request
        self.index = index
        self.id = uuid.uuid4().hex
        self.metrics = request.metrics
        self.scheduled_at = time.perf_counter()
        self.thread_wait: float | None = None
        self.metrics.scheduled(self.name)
        log.debug("background_task.scheduled", **self.keys(trace.get_current_span()))

    def keys(self, span: trace.Span) -> dict[str, Any]:
        """Return what every log line of the run says."""
        keys = {
            "task": self.name,
            "task_run": self.id,
            "http_method": self.request.method,
            "http_route": self.request.route,
        }
        if self.request.request_id is not None:
            keys["request_id"] = self.request.request_id
        context = span.get_span_context()
        if context.is_valid:
            keys["trace_id"] = format_trace_id(context.trace_id)
            keys["span_id"] = format_span_id(context.span_id)
        return keys

    async def call(self, *args: Any, **kwargs: Any) -> None:
        """Call the function, in a span of its own."""
        wait = time.perf_counter() - self.scheduled_at
        attributes = {
            "background_task.name": self.name,
            "background_task.run.id": self.id,
            "background_task.wait": wait,
            "http.route": self.request.route,
        }
        with tracer.start_as_current_span(
            f"background_task {self.name}",
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            keys = self.keys(span) | {"wait_s": round(wait, 6)}
            exemplar = None
            if span.get_span_context().trace_flags.sampled:
                exemplar = {"trace_id": keys["trace_id"], "span_id": keys["span_id"]}
            self.metrics.started(self.name, wait, exemplar)
            log.debug("background_task.started", **keys)
            self.started_at = time.perf_counter()
            try:
                await self.run(*args, **kwargs)
            except Exception as exc:
                self.ended("failed", span, keys, exemplar, exc)
                raise
            except asyncio.CancelledError as exc:
                self.ended("cancelled", span, keys, exemplar, exc)
                raise
            self.ended("succeeded", span, keys, exemplar)

    async def run(self, *args: Any, **kwargs: Any) -> None:
        """Await the function, or run it in a worker thread and note when it begins there."""
        if inspect.iscoroutinefunction(self.func):
            await self.func(*args, **kwargs)
        else:
            await run_in_threadpool(self.in_thread, *args, **kwargs)

    def in_thread(self, *args: Any, **kwargs: Any) -> None:
        """Call the function, in its thread."""
        now = time.perf_counter()
        self.thread_wait = now - self.started_at
        self.started_at = now
        self.func(*args, **kwargs)

    def ended(
        self,
        outcome: str,
        span: trace.Span,
        keys: dict[str, Any],
        exemplar: dict[str, str] | None,
        exc: BaseException | None = None,
    ) -> None:
        """Tell the outcome."""
        duration = time.perf_counter() - self.started_at
        error_type = None if exc is None else error_type_of(exc)
        span.set_attribute("background_task.outcome", outcome)
        if self.thread_wait is not None:
            span.set_attribute("background_task.thread_wait", self.thread_wait)
            keys["thread_wait_s"] = round(self.thread_wait, 6)
        keys["duration_s"] = round(duration, 6)
        self.metrics.ended(self.name, outcome, duration, self.thread_wait, error_type, exemplar)
        if exc is None or error_type is None:
            log.info("background_task.succeeded", **keys)
            return
        reason = "exception" if outcome == "failed" else "cancelled"
        span.set_attribute("background_task.reason", reason)
        span.set_attribute("error.type", error_type)
        keys["reason"] = reason
        keys["error_type"] = error_type
        if outcome == "failed":
            keys["error_text"] = str(exc)
            span.record_exception(exc)
            span.set_status(Status(StatusCode.ERROR, "it raised; see the traceback"))
            log.error("background_task.failed", exc_info=exc, **keys)
        else:
            span.set_status(Status(StatusCode.ERROR, "it was cancelled while it ran"))
            log.warning("background_task.cancelled", **keys)
