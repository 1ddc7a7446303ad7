"""A process that forks while our locks are held: its child publishes, counts and is scraped as ever."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from celery import Celery
from prometheus_client import CollectorRegistry, generate_latest

import afterword
from afterword._ledger.ages import oldest_ages
from afterword._signals.prometheus import Series, series_of
from afterword._signals.tallies.queues import QueueTallies


@contextlib.contextmanager
def held(*locks: threading.RLock) -> Iterator[None]:
    """Hold locks in another thread, which a forked child does not have."""
    holding, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            holding.set()
            enough.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    yield
    enough.set()
    thread.join()


@pytest.fixture
def app() -> Iterator[Celery]:
    """Provide an application without a broker, which runs nothing."""
    app = Celery("forking", broker="memory://", set_as_current=False)

    @app.task(name="shop.works", shared=False)
    def works() -> None:
        """Be published."""

    yield app
    afterword.uninstrument(app)
    app.close()


def locks_of(series: Series) -> list[threading.RLock]:
    """Return the locks that a transition and a scrape take; for those of the hooks, a fork itself waits."""
    assert isinstance(series.queue_tasks, QueueTallies)
    return [series.publishes._lock, series.queue_tasks["shop.works"].lock]


def test_a_fork_while_our_locks_are_held(app: Celery):
    """The child has locks of its own, and numbers of its own."""
    registry = CollectorRegistry()
    afterword.instrument(app, registry=registry)
    app.tasks["shop.works"].delay()
    with held(*locks_of(series_of(registry, oldest_ages))):
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # not pytest-timeout's
            signal.alarm(20)
            app.tasks["shop.works"].delay()
            generate_latest(registry)
            labels = {"background_task_name": "shop.works", "background_task_engine": "celery"}
            os._exit(0 if registry.get_sample_value("background_task_scheduled_total", labels) == 1 else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
