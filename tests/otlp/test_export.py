"""`configure()` and the standard variables, in a real server: what arrives is what the account says."""

from pathlib import Path

import pytest

from tests.otlp.receiver import Receiver
from tests.otlp.serving import PATIENT, QUIET, process, uvicorn
from tests.otlp.visits import STORY, account, ended, visit
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


def test_all_signals_say_the_same(receiver: Receiver, tmp_path: Path):
    """Spans, metrics and log lines agree: the numbers of /metrics arrive, and every line's span does."""
    with process(uvicorn, "configured", tmp_path / "log", **receiver.environment, **QUIET) as server:
        visit(server, 3)
        scraped = account(server.scrape())
        server.wait_for(lambda: len(receiver.runs()) == len(STORY) * 3)
        server.wait_for(lambda: account(receiver.numbers()) == scraped)
        assert receiver.outcomes() == sorted(STORY * 3)
        assert receiver.encodings == ({"gzip"} if receiver.protocol != "grpc" else set())
        arrived = {(span.trace_id, span.span_id): span for span in receiver.spans()}
        for outcome, times in {"succeeded": 18, "failed": 3, "skipped": 3, "dropped": 3}.items():
            lines = server.lines(f"background_task.{outcome}")
            assert len(lines) == times
            for line in lines:
                span = arrived[line["trace_id"], line["span_id"]]
                assert span.attributes["background_task.run.id"] == line["task_run"]
                assert span.attributes["background_task.outcome"] == outcome
        mails = {(line["trace_id"], line["span_id"]) for line in server.lines("mail sent")}
        assert len(mails) == 9
        assert mails <= arrived.keys()


TIMES = {
    "background_task.duration": "duration_s",
    "background_task.wait": "wait_s",
    "background_task.thread_wait": "thread_wait_s",
}
"""The histograms, and where a log line has the same number, to the microsecond."""


def test_exemplars_point_to_real_spans(receiver: Receiver, tmp_path: Path):
    """Every exemplar that arrives has the ids of a run's span that arrives, and the number of that very run."""
    with process(uvicorn, "configured", tmp_path / "log", **receiver.environment, **QUIET) as server:
        visit(server)
        server.wait_for(lambda: all(receiver.exemplars(name) for name in TIMES))
        server.wait_for(lambda: len(receiver.runs()) == len(STORY))
        runs = {(span.trace_id, span.span_id) for span in receiver.runs()}
        ended = [*server.lines("background_task.succeeded"), *server.lines("background_task.failed")]
        lines = {(line["trace_id"], line["span_id"]): line for line in ended}
        for name, key in TIMES.items():
            for exemplar in receiver.exemplars(name):
                ids = exemplar.trace_id, exemplar.span_id
                assert ids in runs
                assert exemplar.value == pytest.approx(lines[ids][key], abs=1e-6)


def test_exemplars_are_switched_off(http_receiver: Receiver, tmp_path: Path):
    """`OTEL_METRICS_EXEMPLAR_FILTER=always_off` means histograms without exemplars."""
    environment = http_receiver.environment | PATIENT | {"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}
    with process(uvicorn, "configured", tmp_path / "log", **environment) as server:
        visit(server)
        server.stop()
    assert "background_task.duration" in http_receiver.metric_names()
    assert http_receiver.exemplars("background_task.duration") == []


def test_the_resource_comes_from_the_environment(receiver: Receiver, tmp_path: Path):
    """`OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are on spans and metrics; the name wins."""
    environment = {
        "OTEL_SERVICE_NAME": "orders",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.name=not-this",
    }
    with process(
        uvicorn, "configured", tmp_path / "log", **receiver.environment, **QUIET, **environment
    ) as server:
        visit(server)
        server.wait_for(lambda: bool(receiver.runs() and receiver.metric_resources()))
        for resource in [span.resource for span in receiver.spans()] + receiver.metric_resources():
            assert resource["service.name"] == "orders"
            assert resource["deployment.environment.name"] == "test"


@pytest.mark.parametrize(
    ("switch", "arrives"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, (False, False)),
        ({"OTEL_METRICS_EXPORTER": "none"}, (True, False)),
        ({"OTEL_TRACES_EXPORTER": "none"}, (False, True)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, (False, True)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_signals_are_switched_off(switch, arrives, http_receiver: Receiver, tmp_path: Path):
    """What is switched off does not arrive, the rest does, and /metrics has its account in any case."""
    environment = http_receiver.environment | PATIENT | switch
    with process(uvicorn, "configured", tmp_path / "log", **environment) as server:
        visit(server)
        scraped = account(server.scrape())
        assert server.stop() == -15
    assert (bool(http_receiver.spans()), bool(http_receiver.metric_names())) == arrives
    assert sum(ended(scraped).values()) == len(STORY)
    if arrives[1]:
        assert account(http_receiver.numbers()) == scraped
    assert "afterword: " not in server.text()


def test_delta_temporality(http_receiver: Receiver, tmp_path: Path):
    """With delta temporality, what arrives over time adds up to the account."""
    environment = http_receiver.environment | QUIET
    environment["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"] = "delta"
    with process(uvicorn, "configured", tmp_path / "log", **environment) as server:
        for _ in range(2):
            seen = len(http_receiver.metric_resources())
            visit(server)
            wait_until(lambda seen=seen: len(http_receiver.metric_resources()) > seen)
        server.stop()
    changes = [
        point.as_int
        for _, scope, metric in http_receiver._metrics()
        if metric.name == "background_task.ended"
        for point in metric.sum.data_points
    ]
    assert sum(changes) == 2 * len(STORY)
