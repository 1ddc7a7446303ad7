"""Receivers and providers that are unwell: the application answers, its tasks run, the account is exact."""

from pathlib import Path

import pytest

from examples.demo.process import free_port
from tests.otlp.receiver import Receiver
from tests.otlp.serving import QUIET, process, uvicorn
from tests.otlp.visits import STATUSES, STORY, account, ended, visit

pytestmark = pytest.mark.timeout(120)

LONGER_THAN_A_TIMEOUT = 30
"""Seconds; all the retries of the oldest exporters take more than a minute."""
SHORT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "2"}


@pytest.mark.parametrize("trouble", ["hang", "close", 429, 500, 503])
def test_a_receiver_that_is_unwell(trouble, receiver: Receiver, tmp_path: Path):
    """Requests and tasks go on, the account is exact, and the server stops after the exporter's timeout."""
    receiver.trouble = trouble
    with process(uvicorn, "configured", tmp_path / "log", **receiver.environment, **QUIET, **SHORT) as server:
        assert visit(server) == STATUSES
        server.wait_for(lambda: receiver.attempts > 0)
        assert visit(server) == STATUSES
        assert ended(server.scrape()) == ended_times(2)
        assert server.stop(LONGER_THAN_A_TIMEOUT) == -15
    assert "afterword: " not in server.text()


def test_a_receiver_that_recovers(receiver: Receiver, tmp_path: Path):
    """When the receiver is well again, the numbers are complete, whatever could not be sent in between."""
    receiver.trouble = 503
    with process(uvicorn, "configured", tmp_path / "log", **receiver.environment, **QUIET, **SHORT) as server:
        visit(server)
        server.wait_for(lambda: receiver.attempts > 0)
        receiver.trouble = None
        scraped = account(server.scrape())
        server.wait_for(lambda: account(receiver.numbers()) == scraped, 60)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_nobody_listens(protocol, tmp_path: Path):
    """An endpoint that refuses connections costs nothing but the export."""
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    with process(uvicorn, "configured", tmp_path / "log", **environment, **QUIET, **SHORT) as server:
        assert visit(server) == STATUSES
        assert ended(server.scrape()) == ended_times(1)
        assert server.stop(LONGER_THAN_A_TIMEOUT) == -15
    assert "afterword: " not in server.text()


def test_providers_that_raise_on_every_call(tmp_path: Path):
    """Providers whose every method raises: the application answers, its tasks run, /metrics has them all."""
    with process(uvicorn, "with_raising_providers", tmp_path / "log") as server:
        assert visit(server) == STATUSES
        assert ended(server.scrape()) == ended_times(1)
        assert server.stop() == -15
    for signal in ("traces", "OpenTelemetry metrics"):
        assert server.text().count(f"afterword: there are no {signal}") == 1


def test_providers_whose_instruments_raise(tmp_path: Path):
    """Tracers, meters and loggers that are made and then raise: the same, and each fault is counted."""
    with process(uvicorn, "with_raising_instruments", tmp_path / "log") as server:
        assert visit(server) == STATUSES
        scraped = server.scrape()
        assert ended(scraped) == ended_times(1)
        faults = {
            dict(labels)["afterword_observer"] for (name, labels), value in scraped.items() if "observer" in name
        }
        assert faults == {"Traces", "OtelMetrics", "OpenTelemetryLogs"}
        assert server.stop() == -15


def ended_times(times: int) -> dict[tuple[str, str], float]:
    """Return the outcomes of so many visits."""
    return {key: STORY.count(key) * times for key in STORY}
