"""`opentelemetry-instrument celery`, and a web process that publishes, of an application that never imports us."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from celery import Celery
from opentelemetry.proto.trace.v1 import trace_pb2
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import afterword
from afterword.instrumentor import BackgroundTaskInstrumentor
from tests.celery.brokers import Redis, free_port
from tests.celery.stage import SECONDS, numbers_of
from tests.otlp.received import NAME, OUTCOME, Span
from tests.otlp.receiver import Receiver, receiving
from tests.otlp.serving import QUIET, Process, automatic, process
from tests.support import ROOT
from tests.support.processes import plain_environment, server_process
from tests.support.waiting import wait_until

RECEIPT = "plain.send_receipt"
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Provide a receiver of OTLP."""
    with receiving("http/protobuf") as receiver:
        yield receiver


@contextlib.contextmanager
def celery(folder: Path, environment: dict[str, str], *command: str, grace: float = 10) -> Iterator[Process]:
    """Run a worker or beat, as `opentelemetry-instrument` does, until its metrics are served."""
    port, log = free_port(), folder / f"{command[0]}.log"
    known = {
        "AFTERWORD_WORKER_METRICS_PORT": str(port),
        "AFTERWORD_WORKER_METRICS_HOST": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    line = [INSTRUMENT, sys.executable, "-m", "celery", "-A", "tests.celery.plain", *command, "-l", "INFO"]
    with server_process(line, log, plain_environment() | known | environment, grace) as server:
        running = Process(server, f"http://127.0.0.1:{port}", log)
        running.wait_for(lambda: server.poll() is None and _answers(running), SECONDS)
        yield running


def _answers(running: Process) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return running.get("/metrics") == 200
    return False


def numbers(running: Process) -> dict[str, int]:
    """Return a process's account of Celery's tasks."""
    families = text_string_to_metric_families(httpx.get(f"{running.address}/metrics", timeout=20).text)
    return dict(numbers_of(sample for family in families for sample in family.samples))


def test_a_shop_without_code(redis: Redis, receiver: Receiver, tmp_path: Path):
    """A worker, beat and a web process keep one account and one trace; their settings are the variables."""
    redis.client.flushall()
    known = {"SHOP_BROKER": redis.url, "SHOP_RESULTS": redis.results, **receiver.environment, **QUIET}
    schedule = "-s", str(tmp_path / "schedule"), "--pidfile", ""
    worker_options = "-Q", "plain", "-c1", "--without-gossip", "--without-mingle"
    with (
        celery(tmp_path, known | {"AFTERWORD_LOGS": "false"}, "worker", *worker_options) as worker,
        celery(tmp_path, known, "beat", *schedule) as beat,
        process(automatic, "tests.celery.plain:web", tmp_path / "web.log", **known) as web,
    ):
        assert web.get("/orders") == 200
        expected = {f"started {RECEIPT}": 2, f"returned {RECEIPT} retry": 1, f"ended {RECEIPT} succeeded": 1}
        wait_until(lambda: expected.items() <= numbers(worker).items(), SECONDS, worker.text)
        wait_until(lambda: numbers(worker).get("ended plain.tidy_up succeeded"), SECONDS, worker.text)
        assert numbers(web) == {f"scheduled {RECEIPT}": 1}
        assert numbers(beat)["scheduled plain.tidy_up"] >= 1
        wait_until(lambda: len(runs(receiver)) == 2, SECONDS)
        wait_until(lambda: f"ended {RECEIPT} succeeded" in told(receiver), SECONDS)
    assert "background_task." not in worker.text()
    assert_one_trace(receiver)


def runs(receiver: Receiver) -> list[Span]:
    """Return the spans of the attempts of the receipt."""
    consumers = trace_pb2.Span.SPAN_KIND_CONSUMER
    return [s for s in receiver.runs() if s.attributes[NAME] == RECEIPT and s.raw.kind == consumers]


def told(receiver: Receiver) -> set[str]:
    """Return the ends that OpenTelemetry's metrics have told."""
    return {
        f"ended {labels['background_task_name']} {labels['background_task_outcome']}"
        for name, labels in ((name, dict(labels)) for name, labels in receiver.numbers())
        if name == "background_task_ended_total"
    }


def assert_one_trace(receiver: Receiver) -> None:
    """Assert that both attempts are in the trace of the request, one of them with the outcome."""
    [request] = [span for span in receiver.spans() if span.name == "GET /orders"]
    assert {span.trace_id for span in runs(receiver)} == {request.trace_id}
    outcomes = [span.attributes.get(OUTCOME) for span in runs(receiver)]
    assert sorted(map(str, outcomes)) == ["None", "succeeded"]


@pytest.mark.parametrize("pool", ["threads", "solo", "gevent"])
def test_every_pool_without_code(redis: Redis, tmp_path: Path, pool: str):
    """A worker of another pool keeps its account; gevent needs OpenTelemetry to make room for it first."""
    redis.client.flushall()
    known = {"SHOP_BROKER": redis.url, "SHOP_RESULTS": redis.results, **QUIET}
    known |= dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
    if pool == "gevent":
        known["OTEL_PYTHON_AUTO_INSTRUMENTATION_EXPERIMENTAL_GEVENT_PATCH"] = "patch_all"
    options = "-P", pool, "-Q", "plain", "-c1", "--without-gossip", "--without-mingle"
    with (
        celery(tmp_path, known, "worker", *options, grace=0) as worker,
        Celery(broker=redis.url, set_as_current=False) as publisher,
    ):
        publisher.send_task(RECEIPT, queue="plain")
        ended = {f"started {RECEIPT}": 2, f"returned {RECEIPT} retry": 1, f"ended {RECEIPT} succeeded": 1}
        wait_until(lambda: numbers(worker) == ended, SECONDS, worker.text)


def test_nothing_is_imported_for_others():
    """A process that does not import Celery is not made to, by the entry point either."""
    code = "import fastapi, sys as s; assert 'afterword' in s.modules; assert 'celery' not in s.modules"
    environment = plain_environment() | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "celery"}
    subprocess.run([INSTRUMENT, sys.executable, "-c", code], check=True, timeout=60, env=environment)


@pytest.fixture
def registry(instrumentor: BackgroundTaskInstrumentor) -> CollectorRegistry:
    """Instrument without code, and provide the registry."""
    registry = CollectorRegistry()
    instrumentor.instrument(registry=registry, logs=False)
    return registry


def shop() -> Celery:
    """Return an application that publishes into memory."""
    app = Celery("quiet", broker="memory://", set_as_current=False)

    @app.task(name="works", shared=False)
    def works() -> None:
        """Do nothing."""

    return app


def scheduled(registry: CollectorRegistry) -> float | None:
    """Return how many tasks were published."""
    labels = {"background_task_name": "works", "background_task_engine": "celery"}
    return registry.get_sample_value("background_task_scheduled_total", labels)


def test_code_wins(registry: CollectorRegistry):
    """An application that instruments itself keeps its own settings, and is counted once."""
    app, own = shop(), CollectorRegistry()
    afterword.instrument(app, registry=own, logs=False)
    app.tasks["works"].delay()
    assert (scheduled(registry), scheduled(own)) == (None, 1)
    afterword.uninstrument(app)


def test_once_in_the_same_registry(registry: CollectorRegistry):
    """Without code and with it, in the same registry, a task is counted once; taken out, it is not counted."""
    app = shop()
    app.tasks["works"].delay()
    assert scheduled(registry) == 1
    afterword.instrument(app, registry=registry)
    app.tasks["works"].delay()
    assert scheduled(registry) == 2
    afterword.uninstrument(app)
    app.tasks["works"].delay()
    assert scheduled(registry) == 2


def test_an_application_that_is_there_already(instrumentor: BackgroundTaskInstrumentor):
    """An application that was made before is accounted for, too, unless it instruments itself."""
    app, busy, registry, own = shop(), shop(), CollectorRegistry(), CollectorRegistry()
    afterword.instrument(busy, registry=own, logs=False)
    instrumentor.instrument(registry=registry, logs=False)
    app.tasks["works"].delay()
    busy.tasks["works"].delay()
    assert (scheduled(registry), scheduled(own)) == (1, 1)
    instrumentor.uninstrument()
    app.tasks["works"].delay()
    busy.tasks["works"].delay()
    assert (scheduled(registry), scheduled(own)) == (1, 2)
    afterword.uninstrument(busy)


def test_celery_is_given_back(instrumentor: BackgroundTaskInstrumentor):
    """Without the instrumentor, Celery makes its applications as before, and they are not observed."""
    before = Celery.__init__
    instrumentor.instrument(registry=None, logs=False)
    assert Celery.__init__ is not before
    instrumentor.uninstrument()
    assert Celery.__init__ is before
    assert "_afterword_account" not in vars(shop())


def test_switched_off(monkeypatch: pytest.MonkeyPatch, instrumentor: BackgroundTaskInstrumentor):
    """With AFTERWORD_DISABLED, no application is touched, and Celery makes them itself."""
    monkeypatch.setenv("AFTERWORD_DISABLED", "true")
    before = Celery.__init__
    instrumentor.instrument()
    assert Celery.__init__ is before
    assert "_afterword_account" not in vars(shop())


def test_one_application():
    """instrument_app and uninstrument_app take a Celery application, too."""
    app, registry = shop(), CollectorRegistry()
    BackgroundTaskInstrumentor.instrument_app(app, registry=registry, logs=False)
    app.tasks["works"].delay()
    BackgroundTaskInstrumentor.uninstrument_app(app)
    app.tasks["works"].delay()
    assert scheduled(registry) == 1
