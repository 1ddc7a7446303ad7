"""``instrument`` takes a Celery application, too: with the arguments that mean something, and reversibly."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from celery import Celery, signals
from celery.backends.base import Backend
from celery.utils.dispatch import Signal
from celery.worker import request, state, strategy
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

import afterword
from afterword._celery import worker
from afterword._celery.patches import hooks, incompatibilities
from tests.celery import shop
from tests.celery.stage import Stage


@pytest.fixture
def app() -> Celery:
    """Return an application without a broker."""
    return Celery("quiet", broker="memory://", set_as_current=False)


@pytest.mark.parametrize("argument", [{"metrics_path": "/numbers"}, {"on_request_error": [print]}])
def test_what_means_nothing_for_celery(app: Celery, argument: dict):
    """An argument about requests is an error that names it."""
    with pytest.raises(TypeError, match=next(iter(argument))):
        afterword.instrument(app, **argument)


def test_what_means_nothing_for_fastapi():
    """A port for a worker's metrics is an error for an application that has no worker."""
    with pytest.raises(TypeError, match="metrics_port"):
        afterword.instrument(FastAPI(), metrics_port=9464)


@pytest.mark.parametrize(("port", "error"), [("9464", TypeError), (70000, ValueError), (True, TypeError)])
def test_what_is_no_port(app: Celery, port, error: type[Exception]):
    """What is no port is an error that names the argument."""
    with pytest.raises(error, match="metrics_port"):
        afterword.instrument(app, metrics_port=port)


def connected() -> int:
    """Return how many receivers Celery's signals have."""
    return sum(len(each.receivers) for each in vars(signals).values() if isinstance(each, Signal))


def test_given_back(app: Celery):
    """When the last application is uninstrumented, Celery is as it was."""
    before = Celery.send_task, strategy.create_request_cls, Backend.chord_error_from_stack
    receivers = connected()
    afterword.instrument(app, registry=None)
    assert hooks.installed
    assert Celery.send_task is not before[0]
    afterword.uninstrument(app)
    assert not hooks.installed
    assert (Celery.send_task, strategy.create_request_cls, Backend.chord_error_from_stack) == before
    assert connected() == receivers


def test_twice_is_once(stage: Stage):
    """A second call with the same settings does nothing, and one with others replaces them."""
    again = CollectorRegistry()
    afterword.instrument(stage.app, registry=again, tracer_provider=stage.provider)
    afterword.instrument(stage.app, registry=again, tracer_provider=stage.provider)
    stage.publish("works")
    name = {"background_task_name": "shop.works", "background_task_engine": "celery"}
    assert again.get_sample_value("background_task_scheduled_total", name) == 1
    assert stage.counted() == {}


def test_two_applications(stage: Stage, tmp_path):
    """What another application publishes is not this one's, though Celery's signals are the process's."""
    other = shop.make(tmp_path, stage.redis.url, stage.redis.results)
    other.tasks["shop.works"].delay()
    assert stage.counted() == {}
    stage.publish("works")
    assert stage.counted() == {"scheduled works": 1}
    registry = CollectorRegistry()
    afterword.instrument(other, registry=registry, tracer_provider=stage.provider)
    try:
        other.tasks["shop.works"].delay()
    finally:
        afterword.uninstrument(other)
    name = {"background_task_name": "shop.works", "background_task_engine": "celery"}
    assert registry.get_sample_value("background_task_scheduled_total", name) == 1
    assert stage.counted() == {"scheduled works": 1}
    other.close()


def test_a_request_that_is_built_otherwise(
    app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """On a Celery whose requests lack a method, one warning says so, and nothing is touched."""
    monkeypatch.delattr(request.Request, "_announce_revoked")
    before = Celery.send_task
    for _ in range(2):
        afterword.instrument(app, registry=None)
    [line] = [line for line in caplog.messages if "no Celery task is observed" in line]
    assert "_announce_revoked" in line
    assert Celery.send_task is before


@pytest.mark.faults
def test_a_fault_of_ours_keeps_no_worker_from_ending(app: Celery, monkeypatch: pytest.MonkeyPatch):
    """If we cannot see what a worker runs at a cold shutdown, Celery ends it as without us."""

    class Odd:
        def __iter__(self):
            raise RuntimeError("odd")

    afterword.instrument(app, registry=None)
    try:
        monkeypatch.setattr(state, "active_requests", Odd())
        terminate = worker.terminating(lambda controller: "ended", lambda: hooks.installed)
        assert terminate(SimpleNamespace(app=app)) == "ended"
    finally:
        afterword.uninstrument(app)


def test_this_celery_is_known():
    """The installed Celery is built as Afterword knows it."""
    assert incompatibilities() == []


def test_celery_is_not_imported_for_others():
    """Whoever has no Celery application does not import Celery."""
    code = (
        "import sys, afterword as a, fastapi as f; a.instrument(f.FastAPI()); assert 'celery' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
