"""A shop whose heavy work Celery does: one task for each situation; for who publishes, and for the workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import prometheus_client
import structlog
from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from celery.worker.request import Request
from kombu import Message
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

import afterword

OWN = prometheus_client.CollectorRegistry()
"""What the user counts in a child is in no registry that the main process serves."""


def append(path: Path, entry: dict[str, Any]) -> None:
    """Add a line of JSON to a file that all processes share."""
    data = (json.dumps(entry, default=str) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


class ToFile(SpanExporter):
    """Writes spans where all processes write theirs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            append(
                self._path,
                {
                    "name": span.name,
                    "kind": span.kind.name,
                    "trace": f"{span.context.trace_id:032x}",
                    "span": f"{span.context.span_id:016x}",
                    "parent": f"{span.parent.span_id:016x}" if span.parent is not None else None,
                    "links": [f"{link.context.trace_id:032x}" for link in span.links],
                    "attributes": dict(span.attributes or {}),
                    "status": span.status.status_code.name,
                    "events": [event.name for event in span.events],
                    "said": [span.status.description, *(dict(event.attributes or {}) for event in span.events)],
                    "scope": span.instrumentation_scope.name if span.instrumentation_scope else None,
                    "pid": os.getpid(),
                },
            )
        return SpanExportResult.SUCCESS


class Board(afterword.TaskObserver):
    """An observer of the user's, which writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "board.jsonl"

    def _write(self, what: str, run: afterword.TaskRun) -> None:
        said = {"what": what, "id": run.id, "reason": run.reason, "outcome": run.outcome, "attempt": run.attempt}
        append(self._path, {**said, "engine": run.engine, "pid": os.getpid()})

    def scheduled(self, run: afterword.TaskRun) -> None:
        self._write("scheduled", run)

    def started(self, run: afterword.TaskRun) -> None:
        self._write("started", run)

    def returned(self, run: afterword.TaskRun) -> None:
        self._write("returned", run)

    def ended(self, run: afterword.TaskRun) -> None:
        self._write("ended", run)


def failing(folder: Path) -> Any:
    """Return a callback for failed tasks."""

    def called(run: afterword.TaskRun, exc: BaseException | None) -> None:
        append(folder / "alerts.jsonl", {"id": run.id, "exc": type(exc).__name__, "how": "sync"})

    return called


def failing_slowly(folder: Path) -> Any:
    """Return an async callback for failed tasks."""

    async def called(run: afterword.TaskRun, exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        append(folder / "alerts.jsonl", {"id": run.id, "exc": type(exc).__name__, "how": "async"})

    return called


def tracing(folder: Path) -> TracerProvider:
    """Return a provider whose spans go to the shared file at once."""
    provider = TracerProvider(resource=Resource.create({}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ToFile(folder / "spans.jsonl")))
    return provider


def logging_to(folder: Path) -> None:
    """Let structlog write to the shared file."""

    def write(logger: Any, method: str, event_dict: Any) -> Any:
        append(folder / "lines.jsonl", {**event_dict, "level": method, "pid": os.getpid()})
        raise structlog.DropEvent

    processors = [structlog.contextvars.merge_contextvars, afterword.logs.add_context, write]
    structlog.configure(processors=processors, wrapper_class=structlog.make_filtering_bound_logger(20))


def die_at_acknowledgement(moment: str) -> None:
    """Let this process, and all of its group, be killed when a task has begun and its message is acknowledged.

    That is ``long before`` it is sent, when Celery puts it off till later, just ``before``, or just ``after``.
    """
    owner: Any = Request if moment == "long before" else Message
    name = "acknowledge" if owner is Request else "ack"
    original = getattr(owner, name)

    def dying(self: Any, *args: Any, **kwargs: Any) -> None:
        if moment == "after":
            original(self, *args, **kwargs)
        os.killpg(0, signal.SIGKILL)

    setattr(owner, name, dying)


class Grumbles(Task):
    """A task whose own hooks raise."""

    abstract = True

    def on_failure(self, *args: Any) -> None:
        if self.request.id:  # Celery calls it again for what it raises, and a solo worker would end
            raise RuntimeError("nobody to be told")

    def on_retry(self, *args: Any) -> None:
        raise RuntimeError("nobody to be told")


def make(
    folder: Path, broker: str, results: str | None, transport: dict[str, Any] | None = None, **settings: Any
) -> Celery:
    """Return the shop's Celery application, with all of its tasks."""
    app = Celery("shop", broker=broker, backend=results, set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": 3600, "socket_connect_timeout": 2} | (transport or {}),
        result_expires=600,
        task_default_queue="shop",
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        **settings,
    )
    add_tasks(app, folder)
    return app


def add_tasks(app: Celery, folder: Path) -> None:
    """Declare the tasks."""

    def task(name: str, **options: Any) -> Any:
        return app.task(name=f"shop.{name}", shared=False, **options)

    def wait_for(gate: str) -> None:
        append(folder / "begun.jsonl", {"gate": gate, "pid": os.getpid()})
        while not (folder / gate).exists():
            time.sleep(0.02)

    @task("works")
    def works(value: Any = None) -> Any:
        structlog.get_logger().info("working")
        return value

    @task("fails")
    def fails(value: Any = None) -> None:
        raise ValueError("no such order")

    @task("expected", throws=(KeyError,))
    def expected() -> None:
        raise KeyError("sku")

    @task("waits")
    def waits(gate: str) -> None:
        wait_for(gate)

    @task("tells", bind=True, max_retries=1, default_retry_delay=0)
    def tells(self: Task, how: str, text: str) -> None:
        if how == "retry":
            raise self.retry(exc=ConnectionError(text))
        if how == "reject":
            raise Reject(text, requeue=False)
        if how == "cause":
            raise KeyError(text) from ValueError(text)
        if how == "publish":
            works.apply_async(serializer=text)
        if how == "exit":
            sys.exit(text)
        raise ValueError(text)

    @task("waits_hard", time_limit=0.5)
    def waits_hard(gate: str) -> None:
        wait_for(gate)

    @task("replaces_itself", bind=True)
    def replaces_itself(self: Task, gate: str) -> None:
        raise self.replace(waits.s(gate))

    @task("naps")
    def naps() -> None:
        time.sleep(0.03)

    @task("dawdles")
    def dawdles() -> None:
        time.sleep(0.4)

    @task("waits_late", acks_late=True)
    def waits_late(gate: str) -> None:
        wait_for(gate)

    @task("waits_apart", acks_late=True)
    def waits_apart(gate: str) -> None:
        append(folder / "begun.jsonl", {"gate": gate, "pid": os.getpid()})
        number = (folder / "begun.jsonl").read_text().count(f'"gate": "{gate}"')
        while not (folder / f"{gate}{number}").exists():
            time.sleep(0.02)

    @task("waits_lost", acks_late=True, reject_on_worker_lost=True)
    def waits_lost(gate: str) -> None:
        wait_for(gate)

    @task("retries", bind=True, max_retries=5, default_retry_delay=0)
    def retries(self: Task, times: int, then: str = "works") -> None:
        if self.request.retries < times:
            raise self.retry(exc=ConnectionError("not yet"), countdown=0, max_retries=times)
        if then == "fails":
            raise ValueError("still not")

    @task("gives_up", autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0, retry_backoff=False)
    def gives_up() -> None:
        raise ConnectionError("never")

    @task("ignores")
    def ignores() -> None:
        raise Ignore

    @task("rejects")
    def rejects() -> None:
        raise Reject("bad order", requeue=False)

    @task("requeues", bind=True, acks_late=True)
    def requeues(self: Task) -> None:
        if not self.request.delivery_info["redelivered"]:
            raise Reject("not now", requeue=True)

    @task("replaces", bind=True)
    def replaces(self: Task) -> None:
        raise self.replace(works.s(3))

    @task("publishes")
    def publishes() -> None:
        works.delay(1)

    @task("publishes_badly")
    def publishes_badly() -> None:
        works.apply_async(serializer="no-such-serializer")

    @task("soft", soft_time_limit=0.2)
    def soft() -> None:
        while True:
            time.sleep(0.02)

    @task("hard", time_limit=0.5)
    def hard() -> None:
        while True:
            time.sleep(0.02)

    @task("exits")
    def exits() -> None:
        sys.exit(3)

    @task("killed")
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @task("killed_once", bind=True, acks_late=True, reject_on_worker_lost=True)
    def killed_once(self: Task) -> None:
        if not self.request.delivery_info["redelivered"]:
            os.kill(os.getpid(), signal.SIGKILL)

    @task("coroutine")
    async def coroutine() -> None:
        await asyncio.sleep(0)

    @task("coroutine_ignored", ignore_result=True)
    async def coroutine_ignored() -> None:
        await asyncio.sleep(0)

    @task("unstorable")
    def unstorable() -> Any:
        return threading.Lock()

    @task("adds")
    def adds(*values: Any) -> Any:
        return len(values)

    @task("limited", rate_limit="600/m")
    def limited() -> None:
        """Do nothing, but not too often."""

    @task("counts")
    def counts() -> None:
        own = prometheus_client.Counter("shop_monthly_statements", "Counted in the child.", registry=OWN)
        own.inc()

    @task("grumbles", base=Grumbles)
    def grumbles() -> None:
        raise ValueError("no such order")

    @task("retries_grumbling", bind=True, base=Grumbles, max_retries=1, default_retry_delay=0)
    def retries_grumbling(self: Task) -> None:
        raise self.retry(exc=ValueError("not yet"))

    @task("swallows", bind=True, default_retry_delay=0)
    def swallows(self: Task) -> None:
        if not self.request.retries:
            self.retry(throw=False)

    @task("retries_inside")
    def retries_inside() -> None:
        retries.apply(args=[1, "fails"])

    @task("runs_inside")
    def runs_inside() -> None:
        works.apply(args=[1])

    @task("handles")
    def handles(request: Any, exc: Any, traceback: Any) -> None:
        """Be an errback that Celery calls as a function."""
