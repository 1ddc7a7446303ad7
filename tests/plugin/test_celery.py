"""An account sees Celery's tasks: those that run in the test's process, and those that are only published."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

import afterword
from afterword import testing
from tests.support.asgi import ask
from tests.support.in_process import SILENT

celery = pytest.importorskip("celery")
kombu = pytest.importorskip("kombu")

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{name}")
    for name in ("PendingDeprecationWarning", "DeprecationWarning", "ResourceWarning")
]


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Give the process its logging back: a worker, also one in a thread, sets up the root logger anew."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(False)


@pytest.fixture
def shop() -> Iterator[Any]:
    """Provide a Celery application that has never heard of us, and publishes into memory."""
    app = celery.Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.broker_transport_options = {"polling_interval": 0.02}

    @app.task(name="shop.send_receipt", shared=False)
    def send_receipt(order: int) -> None:
        if order == 13:
            raise ConnectionRefusedError("no mail server")

    @app.task(name="shop.retries", bind=True, default_retry_delay=0, shared=False)
    def retries(self: Any, times: int) -> None:
        if self.request.retries < times:
            raise self.retry(countdown=0)

    @app.task(name="shop.replaces", bind=True, shared=False)
    def replaces(self: Any, times: int) -> None:
        if times:
            raise self.replace(self.s(times - 1))

    yield app
    app.close()


@pytest.fixture
def eager(shop: Any) -> Any:
    """Let the application run its tasks where they are called."""
    shop.conf.task_always_eager = True
    return shop


def test_an_endpoint_that_publishes(shop: Any, opened: testing.Account):
    """What an endpoint publishes is there, without an outcome; nobody waits for it, and nobody complains."""
    app = FastAPI(**SILENT)

    @app.get("/orders")
    def order() -> None:
        shop.tasks["shop.send_receipt"].delay(7)

    assert ask(app, "/orders").status == 200
    receipt = opened["send_receipt"]
    assert (receipt.published, receipt.scheduled, receipt.pending, receipt.started) == (1, 1, 1, 0)
    [run] = receipt.runs
    assert (run.engine, run.outcome) == ("celery", None)
    assert opened.wait(timeout=0)
    opened.assert_all_succeeded(timeout=0)
    opened.assert_all_ran(timeout=0)
    assert "it was published, and no worker in this process has received it" in str(opened)


def test_eager_tasks(eager: Any, opened: testing.Account):
    """A task that runs where it is called has its outcome, by `delay` as by `apply`; it was not published."""
    receipt = eager.tasks["shop.send_receipt"]
    receipt.delay(7)
    receipt.apply(args=[13])
    counts = opened[receipt]
    assert (counts.scheduled, counts.succeeded, counts.failed, counts.published) == (2, 1, 1, 0)
    with pytest.raises(AssertionError, match="ConnectionRefusedError: no mail server"):
        opened.assert_all_succeeded()
    opened.assert_all_ran()


def test_attempts_are_one_run(eager: Any, opened: testing.Account):
    """A task that is tried three times is one run, with the outcome of its last attempt."""
    eager.tasks["shop.retries"].delay(2)
    assert (opened.scheduled, opened.succeeded, opened.running, opened.pending) == (1, 1, 0, 0)
    assert [run.attempt for run in opened.runs] == [3]


def test_what_never_reaches_the_broker(shop: Any, opened: testing.Account):
    """A task whose publish fails is dropped, and not published."""
    with pytest.raises(kombu.exceptions.SerializerNotInstalled):
        shop.tasks["shop.send_receipt"].apply_async(args=[7], serializer="no-such")
    opened.expect(send_receipt="dropped")
    opened.assert_all_succeeded()
    assert (opened.published, opened.dropped) == (0, 1)


def test_a_worker_in_the_process(shop: Any, opened: testing.Account):
    """What a worker in a thread of the test runs ends as one run of each task, whatever its attempts."""
    from celery.contrib.testing.worker import start_worker

    with start_worker(shop, perform_ping_check=False, shutdown_timeout=20):
        assert shop.tasks["shop.send_receipt"].delay(7).get(timeout=20) is None
        assert shop.tasks["shop.retries"].delay(1).get(timeout=20) is None
        assert shop.tasks["shop.replaces"].delay(1).get(timeout=20) is None
        assert opened.wait(20)
    assert (opened["send_receipt"].published, opened["send_receipt"].succeeded) == (1, 1)
    assert (opened["retries"].published, opened["retries"].succeeded) == (1, 1)
    assert (opened["replaces"].published, opened["replaces"].succeeded) == (2, 2)
    assert (opened.scheduled, opened.pending, opened.running) == (4, 0, 0)


def test_it_is_left_as_it_was(shop: Any):
    """After an account, the application is not observed; one under `instrument` keeps its own settings."""
    registry = CollectorRegistry()
    busy = celery.Celery("busy", broker="memory://", set_as_current=False)
    afterword.instrument(busy, registry=registry, logs=False)
    before = celery.Celery.send_task
    with testing.account() as inner:
        busy.send_task("anything")
        shop.send_task("shop.send_receipt")
        late = celery.Celery("late", broker="memory://", set_as_current=False)
        late.send_task("late")
    assert (inner["anything"].published, inner["shop.send_receipt"].published, inner["late"].published) == (
        1,
        1,
        1,
    )
    labels = {"background_task_name": "anything", "background_task_engine": "celery"}
    assert registry.get_sample_value("background_task_scheduled_total", labels) == 1
    assert celery.Celery.send_task is before
    afterword.uninstrument(busy)
    later = celery.Celery("later", broker="memory://", set_as_current=False)
    for app in (shop, late, later):
        app.send_task("later")
        assert "_afterword_account" not in vars(app)
    assert "later" not in inner
