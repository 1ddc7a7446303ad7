"""Every metric that the dashboards ask for exists in the registry of applications, FastAPI's and Celery's."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from celery import Celery
from fastapi import BackgroundTasks, FastAPI, HTTPException
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from afterword import TaskObserver, TaskRun, instrument, uninstrument
from dashboards import names
from dashboards.expressions import expressions
from tests.celery.brokers import redis_server
from tests.support.waiting import wait_until, wait_until_async

OPEN_METRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
SELECTOR = re.compile(r"\b((?:background_task|afterword)_\w+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)(?:=~|!~|!=|=)\"")


class Broken(TaskObserver):
    """An observer with a fault."""

    def ended(self, run: TaskRun) -> None:
        """Fail."""
        raise ValueError("an observer with a fault")


def work() -> None:
    """Succeed."""


async def fail() -> None:
    """Fail."""
    raise RuntimeError("as it must")


def publish(tmp_path: Path, registry: CollectorRegistry) -> None:
    """Publish a task of Celery's that nobody receives, and wait until somebody has looked into its queue."""
    with redis_server(tmp_path) as redis:
        celery = Celery("shop", broker=redis.url, set_as_current=False)
        instrument(celery, registry=registry, traces=False, logs=False)
        celery.task(work, name="work", shared=False).apply_async()
        wait_until(lambda: f"{names.QUEUE_MESSAGES}{{".encode() in generate_latest(registry))
        uninstrument(celery)
        celery.close()


@pytest.fixture
def samples(tmp_path: Path) -> dict[str, set[str]]:
    """Return the names of all series of an application that has had its troubles, each with its labels."""
    registry = CollectorRegistry()
    app = FastAPI()
    instrument(app, registry=registry, observers=[Broken()], traces=False, logs=False)

    @app.get("/{what}")
    async def order(what: str, tasks: BackgroundTasks) -> None:
        tasks.add_task(work)
        if what == "refused":
            raise HTTPException(409)
        if what == "failing":
            tasks.add_task(fail)
        tasks.add_task(work)

    async def visit() -> str:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            for what in ("fine", "refused", "failing"):
                await client.get(f"/{what}")
            await client.get("/metrics")  # without a lifespan, the loop is watched from the first scrape on
            async with asyncio.timeout(30):
                await wait_until_async(lambda: f"{names.LOOP_LAG}_count".encode() in generate_latest(registry))
            return (await client.get("/metrics", headers=OPEN_METRICS)).text

    publish(tmp_path, registry)
    try:
        text = asyncio.run(visit())
    finally:
        uninstrument(app)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_metrics_exist(samples):
    """Every metric of every PromQL expression is exposed, under exactly that name."""
    asked = {
        metric
        for expression in expressions()
        if expression.language == "prometheus"
        for metric, _ in SELECTOR.findall(expression.expr)
    }
    assert len(asked) > 15
    assert asked <= samples.keys()


def test_labels_exist(samples):
    """Every label by which an expression selects is on that metric; a scrape adds the job and the instance."""
    for expression in expressions():
        for metric, matchers in SELECTOR.findall(expression.expr):
            labels = set(MATCHER.findall(matchers)) - {"job", "instance"}
            # no task of this application was lost with its process: the series is born with the first that is
            if expression.language == "prometheus" and metric != "background_task_lost_total":
                assert labels <= samples[metric], (metric, labels)


def test_kept_labels_exist(samples):
    """Every label that an expression aggregates by is on one of its metrics."""
    for expression in expressions():
        if expression.language != "prometheus":
            continue
        known = {"job", "instance"}.union(*(samples[metric] for metric, _ in SELECTOR.findall(expression.expr)))
        kept = {label for group in re.findall(r"by \(([^)]*)\)", expression.expr) for label in group.split(", ")}
        assert kept <= known, (expression.panel, kept - known)
