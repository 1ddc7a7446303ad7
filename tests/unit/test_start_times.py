"""Since when a process counts, and since when its counters do: in one process, after a fork, and with several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from afterword import instrument, uninstrument
from afterword._common import semconv
from tests.support.interpreter import run_fresh
from tests.support.numbers import recorded

pytestmark = pytest.mark.slow  # some need an interpreter of their own

STARTS = (semconv.PROCESS_START, semconv.ACCOUNT_START)
FORKING = """
    import json, os, time, warnings
    from fastapi import BackgroundTasks, FastAPI
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from afterword import instrument
    from tests.support.asgi import ask
    from tests.support.numbers import recorded

    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    app, reader = FastAPI(), InMemoryMetricReader()
    instrument(app, meter_provider=MeterProvider([reader]), traces=False, logs=False)

    @app.get("/")
    def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(int)

    def told():
        lines = ask(app, "/metrics").text.splitlines()
        starts = [line.split() for line in lines if line.startswith("afterword") and "_start_time_" in line]
        scraped = {name: float(value) for name, value in starts}
        for metric in recorded(reader):
            if metric.name.endswith(".start_time"):
                scraped[metric.name] = metric.data.data_points[0].value
        return scraped

    ask(app, "/")
    before, forked = told(), time.time()
    reader_end, writer_end = os.pipe()
    if not os.fork():
        ask(app, "/")
        os.write(writer_end, json.dumps(told()).encode())
        os._exit(0)
    child = json.loads(os.read(reader_end, 10_000))
    os.wait()
    print(json.dumps([before, forked, child, told()]))
"""


def test_a_process_tells_since_when_it_counts(monkeypatch: pytest.MonkeyPatch):
    """With a single process, both are when we began to account in it, and both signals say so."""
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.5)
    app, registry, reader = FastAPI(), CollectorRegistry(), InMemoryMetricReader()
    instrument(app, registry=registry, meter_provider=MeterProvider([reader]), traces=False, logs=False)
    try:
        assert [registry.get_sample_value(metric.prometheus) for metric in STARTS] == [1_800_000_000.5] * 2
        told = {metric.name: metric.data.data_points for metric in recorded(reader)}
        assert [[point.value for point in told[metric.name]] for metric in STARTS] == [[1_800_000_000.5]] * 2
    finally:
        uninstrument(app)


def test_a_forked_child_begins_anew():
    """A child begins when it was forked, in both signals; its parent is where it was."""
    before, forked, child, after = json.loads(run_fresh(FORKING)[0])
    assert before == after
    assert before.keys() == {metric.name for metric in STARTS} | {metric.prometheus for metric in STARTS}
    assert max(before.values()) < forked <= min(child.values())


def test_several_processes_tell_who_began_last_and_since_when_they_count(tmp_path: Path):
    """The last start is the youngest living one's; the counters have counted since the first, dead or not."""
    told, _ = run_fresh(FORKING, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    before, forked, child, after = json.loads(told)
    process, account = (metric.prometheus for metric in STARTS)
    assert before[process] == before[account] < forked <= child[process]
    assert child[account] == before[account] == after[account]
    assert after[process] == before[process]

    told, _ = run_fresh(FORKING, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    later, *_ = json.loads(told)
    assert later[process] > forked
    assert later[account] == before[account]
