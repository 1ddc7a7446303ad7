"""The fault matrix: transition × part × kind. The application does the same, and the other signals say the same.

Generated from ``TRANSITIONS``, ``PARTS`` and ``KINDS``. What is left out, by rule:

- a part that a transition does not reach: ``Part.reached_in`` says which do, and a case
  fails if its part was not hit;
- ``blocks``, where the part's library holds a lock of its own while it calls it (``Part.is_locked``): a log
  handler, the making of the journal's first file, a worker's files, what a metric reader calls;
- what raises, of clocks (``Part.may_raise``): no clock does. Their nonsense is the year 1970.

====================  ===============================  ========================  ===============================
part                  transitions                      whose signal may differ   counted as a fault of
====================  ===============================  ========================  ===============================
a user's observer     all                              nobody's                  it
Traces                a task's, and tearing_down       spans                     it
Logs                  a task's, and request_failed     log lines                 it
Prometheus            a task's, and request_failed     Prometheus                it
OtelMetrics           a task's, and request_failed     OpenTelemetry's metrics   it
a span processor      started, and all ends            spans                     Traces
the span exporter     all ends                         spans                     Traces, but the SDK keeps errors
a log processor       a task's, and request_failed     log lines                 Logs
a log handler         a task's, and request_failed     log lines                 Logs
the registry          a task's, and request_failed     Prometheus                Prometheus
the meter             started, run, request_failed     OpenTelemetry's metrics   OtelMetrics
a worker's file       a task's, and request_failed     Prometheus                PrometheusFiles
a record processor    a task's, and request_failed     nobody's, but its own     OpenTelemetryLogs
a gauge callback      a task's, and request_failed     OpenTelemetry's metrics   who reads; the SDK keeps errors
the clock             a task's                         nobody's, only times      nobody
the stopwatch         scheduled, started, what ran     nobody's, only times      nobody
the journal's file    a task's                         nobody's, it goes off     Journal, the first
the journal's disk    the first that is scheduled      nobody's, it goes off     Journal, the first
====================  ===============================  ========================  ===============================

A task's transitions are scheduled, started and the six outcomes. Nonsense that a part returns is a fault only if
somebody uses it: then it is counted as often as it was returned, else not at all. ``KeyboardInterrupt`` and
``SystemExit`` are no faults: they pass.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fire.faults import KINDS, TOLD, TRANSITIONS, Fault, blocked, build, play
from tests.fire.parts import PARTS, Part, Scene
from tests.support.in_process import InProcessStage
from tests.support.stage import Odd, Stage
from tests.support.story import Story, assert_same, story_of

pytestmark = [pytest.mark.slow, pytest.mark.faults]

CASES = [
    pytest.param(transition, part, kind, id=f"{transition}-{part.name}-{kind}")
    for part in PARTS
    for transition in TRANSITIONS
    for kind in KINDS
    if transition in part.reached_in
    and not (kind == "blocks" and part.is_locked)
    and not (kind.startswith("raises") and not part.may_raise)
]


@pytest.fixture(scope="module")
def bare() -> tuple[list[Any], list[Any]]:
    """Return what is seen of the application, and what its tasks do, without Afterword."""
    stage = Stage()
    return play(build(stage)), stage.did


def stories(stage: InProcessStage) -> dict[str, Callable[[], Story]]:
    """Return what reads each signal's story."""
    accounts = stage.accounts
    return {
        "observer": accounts.recorder.story,
        "prometheus": accounts.prometheus.story,
        "otel metrics": accounts.meter.story,
        "spans": accounts.spans.story,
        "log": accounts.lines.story,
    }


def counted(stage: InProcessStage) -> dict[str, int]:
    """Return how many faults were counted, by whose they were."""
    name = "afterword_observer_errors_total"
    samples = stage.accounts.prometheus.samples()
    return {labels["afterword_observer"]: int(value) for sample, labels, value in samples if sample == name}


@pytest.mark.parametrize(("transition", "part", "kind"), CASES)
def test_a_fault_is_only_its_own(
    stage: InProcessStage,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    bare: tuple[list[Any], list[Any]],
    transition: str,
    part: Part,
    kind: str,
):
    """Whatever is at fault: answers, tasks and other signals are the same, and it is told once."""
    fault = Fault(transition, kind, part.nonsense)
    scene = Scene(stage, fault, monkeypatch, tmp_path / "journal")
    with monkeypatch.context() as patches:
        scene.monkeypatch = patches
        fault.watch(patches)
        part.before(scene)
        app = stage.instrument(build(stage), observers=scene.observers, **scene.options)
        part.after(scene, app)
        rounds = 1
        if kind == "blocks":
            rounds = 2
            with blocked(fault, lambda: play(app)) as behind:
                in_front = play(app)  # while the other thread hangs in the part
            assert behind == [bare[0]]
        else:
            in_front = play(app)
    assert fault.hits, "the part was not reached"
    assert in_front == bare[0]
    assert sorted(stage.did) == sorted(bare[1] * rounds)
    if scene.journal is not None:
        assert scene.journal.is_off or not kind.startswith("raises")
        scene.journal.close()
    assert_told(stage, part, rounds)
    assert_counted(stage, part, fault, caplog)


def assert_told(stage: InProcessStage, part: Part, rounds: int) -> None:
    """Assert that the signals that are not the part's own say what they always say."""
    for who, story in stories(stage).items():
        if who != part.signal:
            assert_same(story(), story_of(TOLD * rounds), who)


def assert_counted(stage: InProcessStage, part: Part, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """Assert that each fault that reached us was counted, and the first of them logged."""
    raised: dict[str, type[BaseException]] = {"raises": RuntimeError, "raises a BaseException": Odd}
    kind = raised.get(fault.kind)
    reaches_us = kind is not None and not (part.library_catches and issubclass(kind, part.library_catches))
    lines = [r.getMessage() for r in caplog.records if r.name == "afterword" and r.levelno == logging.ERROR]
    told = [line for line in lines if line.startswith("afterword: ")]
    numbers = counted(stage)
    hits = 1 if part.is_off_at_once else fault.hits
    if fault.kind == "returns nonsense":
        assert sum(numbers.values()) in (0, hits)
        assert len(told) == bool(numbers)
    else:
        assert numbers == ({part.counted_as: hits} if reaches_us else {})
        assert len(told) == reaches_us
