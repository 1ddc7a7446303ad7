"""Which exporters `configure()` makes of the standard variables, each time in a fresh interpreter."""

import pytest

from tests.otlp.receiver import Receiver, receiving
from tests.support.interpreter import run_fresh

ALL_SIGNALS = """
    import afterword.logs
    from opentelemetry import _logs, metrics, trace
    afterword.configure("shop")
    trace.get_tracer("afterword").start_span("work").end()
    metrics.get_meter("afterword").create_counter("orders").add(3)
    afterword.logs.OpenTelemetryLogs().request_failed(afterword.RequestInfo("GET", "/"), ValueError())
"""
ENDPOINTS = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "", (1, 1, 1)),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/v1/traces", (1, 0, 0)),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "/v1/metrics", (0, 1, 0)),
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "/v1/logs", (0, 0, 1)),
]


def arrived(receiver: Receiver) -> tuple[int, int, int]:
    """Return how many spans, metrics and log records have arrived."""
    return len(receiver.spans()), len(receiver.metric_names()), len(receiver.events())


@pytest.mark.parametrize(("variable", "path", "signals"), ENDPOINTS)
def test_an_endpoint_asks_for_otlp(variable, path, signals, http_receiver: Receiver):
    """An endpoint is enough: the common one for all three signals, a signal's own for that signal."""
    run_fresh(ALL_SIGNALS, **{variable: f"http://127.0.0.1:{http_receiver.port}{path}"})
    assert arrived(http_receiver) == signals


@pytest.mark.parametrize(
    ("variable", "signals"),
    [
        ("OTEL_TRACES_EXPORTER", (0, 1, 1)),
        ("OTEL_METRICS_EXPORTER", (1, 0, 1)),
        ("OTEL_LOGS_EXPORTER", (1, 1, 0)),
    ],
)
def test_one_signal_is_taken_out(variable, signals, receiver: Receiver):
    """`none` takes one signal out; an empty value is as good as no variable."""
    run_fresh(ALL_SIGNALS, **(receiver.environment | {variable: "none"}))
    assert arrived(receiver) == signals
    run_fresh(ALL_SIGNALS, **(receiver.environment | {variable: ""}))
    assert all(arrived(receiver))


def test_a_protocol_for_each_signal():
    """A signal's own protocol and endpoint win over the common ones."""
    with receiving("http/protobuf") as http, receiving("grpc") as grpc:
        own = {
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{grpc.port}",
        }
        run_fresh(ALL_SIGNALS, **http.environment, **own)
        assert (arrived(http), arrived(grpc)) == ((0, 1, 1), (1, 0, 0))


@pytest.mark.parametrize(
    ("variable", "value", "signals"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", (1, 0, 1)),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", (0, 1, 1)),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "brotli", (0, 1, 1)),
    ],
)
def test_a_variable_that_cannot_be_read(variable, value, signals, receiver: Receiver):
    """It costs its signal and a warning, not the application nor the other signals."""
    _, complained = run_fresh(ALL_SIGNALS, **receiver.environment, **{variable: value})
    counts = arrived(receiver)
    assert counts in (signals, (1, 1, 1))  # some SDKs complain themselves and go on with their default
    assert complained
    assert "Traceback" not in complained


def test_a_missing_exporter_is_named():
    """Where the exporter is not installed, the warning says what to install."""
    code = """
        import afterword, sys
        configure = afterword.configure
        sys.modules["afterword._setup.configure"].entry_points = lambda **kwargs: ()
        configure("shop")
    """
    _, complained = run_fresh(code, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:9")
    assert "pip install opentelemetry-exporter-otlp-proto-http" in complained
