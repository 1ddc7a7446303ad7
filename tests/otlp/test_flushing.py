"""Providers that misbehave when they are flushed: the server hears of the lifespan's end all the same."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from opentelemetry import trace

from afterword._ledger import shutdown
from afterword._ledger.shutdown import Flushed
from tests.support.in_process import InProcessStage

COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class Provider:
    """A provider that does this when it is flushed."""

    def __init__(self, action: Any) -> None:
        self.force_flush = action


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> Flushed:
    """Provide what is flushed, nothing as yet."""
    flushed = Flushed()
    monkeypatch.setattr(shutdown, "flushed", flushed)
    return flushed


def begin_and_end(app: Any) -> list[str]:
    """Play an application's lifespan, and return what it tells the server."""
    told: list[str] = []

    async def play() -> None:
        asked = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, str]:
            return {"type": next(asked)}

        async def send(message: Any) -> None:
            told.append(message["type"])

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    asyncio.run(play())
    return told


def test_all_are_flushed_before_the_server_hears_of_the_end(stage: InProcessStage, flushed: Flushed):
    """Every provider is flushed once, those that have nothing to flush are passed over."""
    done: list[int] = []
    for provider in (Provider(lambda: done.append(1)), object(), Provider(lambda: done.append(2))):
        flushed.add(provider)
    assert begin_and_end(stage.app()) == COMPLETE
    assert sorted(done) == [1, 2]


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, SystemExit])
def test_one_that_raises(
    error: type[BaseException], stage: InProcessStage, flushed: Flushed, caplog: pytest.LogCaptureFixture
):
    """A provider that raises, whatever it is, is logged, and the others are flushed."""
    done = threading.Event()

    def fail() -> None:
        raise error

    flushed.add(Provider(fail))
    flushed.add(Provider(done.set))
    with caplog.at_level(logging.ERROR, "afterword"):
        assert begin_and_end(stage.app()) == COMPLETE
    assert done.is_set()
    assert [record.message for record in caplog.records] == ["afterword: flushing Provider failed"]


@pytest.mark.parametrize("seconds", ["0.1", "1e-3"])
def test_one_that_hangs(seconds: str, stage: InProcessStage, flushed: Flushed, monkeypatch: pytest.MonkeyPatch):
    """A provider that hangs is left behind after the exporter's timeout, while it still hangs."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", seconds)
    let_go, done = threading.Event(), threading.Event()

    def hang() -> None:
        let_go.wait()
        done.set()

    flushed.add(Provider(hang))
    try:
        assert begin_and_end(stage.app()) == COMPLETE
        assert not done.is_set()
    finally:
        let_go.set()
    assert done.wait(10)


@pytest.mark.parametrize("seconds", ["soon", "", "0", "nan", "inf"])
def test_a_timeout_that_cannot_be_read(
    seconds: str, stage: InProcessStage, flushed: Flushed, monkeypatch: pytest.MonkeyPatch
):
    """A timeout that is none is OpenTelemetry's default."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", seconds)
    assert shutdown._seconds() == 10.0


def test_no_thread_is_to_be_had(stage: InProcessStage, flushed: Flushed, monkeypatch: pytest.MonkeyPatch):
    """Where no thread can be started, the end comes without a flush."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    flushed.add(Provider(lambda: None))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert begin_and_end(stage.app()) == COMPLETE


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
def test_a_global_provider_that_cannot_be_had(
    error: type[BaseException],
    stage: InProcessStage,
    flushed: Flushed,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """Where a variable names a global provider that is not there, that is logged, and the end comes."""

    def refuse() -> None:
        raise error("OTEL_PYTHON_TRACER_PROVIDER")

    flushed.with_global = True
    monkeypatch.setattr(trace, "get_tracer_provider", refuse)
    with caplog.at_level(logging.ERROR, "afterword"):
        assert begin_and_end(stage.app()) == COMPLETE
    assert [record.message for record in caplog.records] == ["afterword: flushing failed"]
