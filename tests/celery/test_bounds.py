"""What is bounded in a worker, and what it does not wait for: slow callbacks, connections, a pipe and a broker."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import threading
from collections.abc import Iterator
from time import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from celery import Celery
from prometheus_client import CollectorRegistry

import afterword
from afterword import TaskRun
from afterword._celery import attempts, interop, pipe, tellers
from afterword._celery.instrumentation import CeleryInstrumentation, find
from afterword._common.log import once
from afterword._setup import worker_metrics
from tests.support.waiting import wait_until


@pytest.fixture
def app() -> Iterator[Celery]:
    """Provide an application that publishes to nobody."""
    app = Celery("bounded", broker="memory://", set_as_current=False)
    yield app
    afterword.uninstrument(app)
    app.close()


@pytest.fixture(autouse=True)
def not_warned_yet() -> None:
    """Forget which warnings other tests have seen."""
    once.forget()


def known_of(app: Celery, **options: Any) -> CeleryInstrumentation:
    """Instrument an application; return what it is known by."""
    afterword.instrument(app, registry=CollectorRegistry(), logs=False, traces=False, **options)
    known = find(app)
    assert known is not None
    return known


def test_a_few_threads_call_back(app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """However many tasks fail at once, four callbacks run, so many wait, and one warning says that more do not."""
    gate, running, told = threading.Event(), [], []

    def slow(run: TaskRun, exc: BaseException | None) -> None:
        running.append(threading.current_thread().name)
        gate.wait(60)
        told.append((run.name, str(exc)))
        raise SystemExit

    known = known_of(app, on_task_failure=[slow])
    monkeypatch.setattr(tellers, "_MOST_WAITING", 3)
    run = TaskRun("shop.mail", "shop.mail", None, 0, is_async=False)
    for number in range(4):
        tellers.call_back(known, run, ValueError(number))
        wait_until(lambda: len(running) == number + 1)  # noqa: B023
    for number in range(4, 9):
        tellers.call_back(known, run, ValueError(number))
    assert running == ["afterword-callback"] * 4
    gate.set()
    wait_until(lambda: len(told) == 7)
    assert sorted(told) == [("shop.mail", str(number)) for number in range(7)]
    assert len([line for line in caplog.messages if "on_task_failure takes too long" in line]) == 1
    wait_until(lambda: not any(thread.name == "afterword-callback" for thread in threading.enumerate()))
    tellers.call_back(known, run, ValueError("later"))
    wait_until(lambda: told[-1] == ("shop.mail", "later"))


def test_a_main_process_that_is_dead(caplog: pytest.LogCaptureFixture):
    """A child whose main process was killed goes on with its task: that nobody counts is one warning, no error."""
    orphan = object.__new__(pipe._Pipe)
    reading, orphan.writing = os.pipe()
    os.close(reading)
    for _ in range(2):
        orphan.write(b"{}\n")
    os.close(orphan.writing)
    assert len([line for line in caplog.messages if "does not listen" in line]) == 1


def test_a_full_pipe_of_a_high_number(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """A child with more than a thousand open files waits for a full pipe as any other, and goes on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    monkeypatch.setattr(pipe, "_PATIENCE_SECONDS", 0.01)
    busy = object.__new__(pipe._Pipe)
    reading, writing = os.pipe()
    busy.writing = fcntl.fcntl(writing, fcntl.F_DUPFD, 1500)
    os.set_blocking(busy.writing, False)
    while True:
        try:
            os.write(busy.writing, bytes(4096))
        except BlockingIOError:
            break
    busy.write(b"{}\n")
    for descriptor in (reading, writing, busy.writing):
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len([line for line in caplog.messages if "does not listen" in line]) == 1


@pytest.mark.timeout(40)
def test_a_broker_that_says_nothing_keeps_no_task_from_its_end():
    """A task that perhaps was given away asks the broker with a second's patience, not with that of Celery."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        app = Celery("mute", broker=f"redis://127.0.0.1:{mute.getsockname()[1]}", set_as_current=False)
        request = SimpleNamespace(delivery_info={"redelivered": True}, properties={"delivery_tag": "tag"})
        setattr(request, attempts.RECEIVED, (time(), 1.0))
        task = SimpleNamespace(app=app, acks_late=True, request=request)
        attempt: Any = SimpleNamespace(eager=False)
        with pytest.raises(Exception, match=r"(?i)time"):
            attempts._is_taken_away(attempt, task)
        app.close()


@pytest.mark.faults
def test_a_fault_of_ours_keeps_nobody_from_publishing(app: Celery, monkeypatch: pytest.MonkeyPatch):
    """If our own code fails before a message is sent, it is sent all the same, and accounted for."""

    def fails(signal: Any, receiver: Any) -> None:
        raise RuntimeError("odd")

    known = known_of(app)
    monkeypatch.setattr(interop, "come_last", fails)
    assert app.send_task("shop.works").id
    registry = known.settings.registry
    assert registry is not None
    labels = {"background_task_name": "shop.works", "background_task_engine": "celery"}
    assert registry.get_sample_value("background_task_scheduled_total", labels) == 1


def test_who_connects_too_often_is_hung_up_on(app: Celery, monkeypatch: pytest.MonkeyPatch):
    """So many connections have a thread each; whoever comes then is hung up on, until one of them is over."""
    monkeypatch.setattr(worker_metrics, "_MOST_CONNECTIONS", 2)
    server = worker_metrics._Server(("127.0.0.1", 0), worker_metrics._Handler)
    server.instrumentation = known_of(app)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    address = server.server_address[:2]
    idle = [socket.create_connection(address, 10) for _ in range(2)]
    with socket.create_connection(address, 10) as third:
        assert third.recv(1) == b""
    idle[0].close()

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{address[1]}/metrics", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers)
    idle[1].close()
    server.shutdown()
    serving.join()
    server.server_close()
