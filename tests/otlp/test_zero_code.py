"""`opentelemetry-instrument uvicorn`, of the real distribution, on an application that never imports us."""

from pathlib import Path

import httpx
import pytest

from tests.otlp.receiver import Receiver
from tests.otlp.serving import PATIENT, QUIET, automatic, process
from tests.otlp.visits import STATUSES, STORY, VISITS, account, ended, visit

pytestmark = pytest.mark.timeout(120)

APP = "tests.otlp.plain_app:app"


def spans_of_tasks(receiver: Receiver) -> list[str]:
    """Return the names of all spans around a background task, whoever opened them."""
    return [span.name for span in receiver.spans() if "background" in span.name.lower().replace("_", "")]


def test_all_signals_arrive(receiver: Receiver, tmp_path: Path):
    """Spans, metrics and logs of its tasks arrive, one span per task although contrib is loaded, too."""
    environment = receiver.environment | QUIET | {"AFTERWORD_OTEL_LOGS": "true"}
    with process(automatic, APP, tmp_path / "log", **environment) as server:
        assert visit(server, 2) == STATUSES * 2
        scraped = account(server.scrape())
        server.wait_for(lambda: account(receiver.numbers()) == scraped)
        server.stop()
    assert receiver.outcomes() == sorted(STORY * 2)
    assert len(spans_of_tasks(receiver)) == len(STORY) * 2
    tasks = [record for record in receiver.events() if record.event.startswith("background_task.")]
    assert sorted((r.trace_id, r.span_id) for r in tasks) == sorted(
        (s.trace_id, s.span_id) for s in receiver.runs()
    )
    requests = {span.span_id: span for span in receiver.spans() if span.name.startswith("GET ")}
    assert all(span.trace_id in {request.trace_id for request in requests.values()} for span in receiver.runs())
    resources = [span.resource for span in receiver.spans()] + receiver.metric_resources()
    assert all("telemetry.auto.version" in resource for resource in resources)


def test_the_defaults(receiver: Receiver, tmp_path: Path):
    """With nothing but an endpoint and a protocol, spans and metrics arrive, and no log records of ours."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL")
    environment = {name: receiver.environment[name] for name in names}
    with process(automatic, APP, tmp_path / "log", **environment, **PATIENT) as server:
        visit(server)
        server.stop()
    assert receiver.outcomes() == STORY
    assert ended(receiver.numbers()) == {key: STORY.count(key) for key in STORY}
    assert receiver.events() == []


def test_switched_off(http_receiver: Receiver, tmp_path: Path):
    """`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=afterword` leaves everybody else's telemetry and none of ours."""
    environment = http_receiver.environment | QUIET | {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "afterword"}
    with process(automatic, APP, tmp_path / "log", **environment) as server:
        assert [server.get(path) for path in VISITS] == STATUSES
        server.wait_for(lambda: any("/refused" in span.name for span in http_receiver.spans()))
        assert server.get("/metrics") == 404
        server.stop()
    assert http_receiver.runs() == []
    assert http_receiver.metric_names() == set()


@pytest.mark.parametrize(
    ("setting", "spans", "metrics"),
    [
        ({"AFTERWORD_TRACES": "false"}, False, True),
        ({"AFTERWORD_METRICS": "off"}, True, False),
    ],
    ids=["traces", "metrics"],
)
def test_the_signals_of_afterword(setting, spans: bool, metrics: bool, http_receiver: Receiver, tmp_path: Path):
    """`AFTERWORD_TRACES` and `AFTERWORD_METRICS` take out a signal of ours."""
    with process(automatic, APP, tmp_path / "log", **http_receiver.environment, **PATIENT, **setting) as server:
        assert [server.get(path) for path in VISITS] == STATUSES
        assert (server.get("/metrics") == 200) == metrics
        server.stop()
    assert (bool(http_receiver.runs()), bool(http_receiver.metric_names())) == (spans, metrics)


def test_the_other_settings(http_receiver: Receiver, tmp_path: Path):
    """`AFTERWORD_METRICS_PATH`, `AFTERWORD_NEW_TRACE` and `AFTERWORD_LOGS` do as the environment page says."""
    settings = {
        "AFTERWORD_METRICS_PATH": "/numbers",
        "AFTERWORD_LOGS": "false",
        "AFTERWORD_NEW_TRACE": "true",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "fastapi,starlette",
    }
    with process(automatic, APP, tmp_path / "log", **http_receiver.environment, **PATIENT, **settings) as server:
        assert [server.get(path) for path in VISITS] == STATUSES
        assert server.get("/metrics") == 404
        assert "background_task_ended_total" in httpx.get(f"{server.address}/numbers").text
        server.stop()
    assert http_receiver.outcomes() == STORY
    assert "background_task.failed" not in server.text()
    never_ran = [span for span in http_receiver.runs() if span.attributes["background_task.outcome"] == "skipped"]
    assert [span.parent_id for span in never_ran] == [""]
