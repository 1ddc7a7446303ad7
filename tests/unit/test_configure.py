"""`configure()`, each time in a fresh interpreter."""

import json

import pytest

import afterword
from tests.support.interpreter import run_fresh
from tests.support.versions import NATIVE_TELEMETRY

LOG_A_LINE = """
    import afterword, structlog
    afterword.configure({arguments})
    structlog.get_logger().info("hello", number=7)
    try:
        secret = "hunter2"
        1 / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("broken")
"""

SPAN = """
    import afterword
    from opentelemetry import trace
    afterword.configure("shop")
    with trace.get_tracer("test").start_as_current_span("work"):
        pass
    trace.get_tracer_provider().force_flush()
"""

COUNT = """
    import afterword
    from opentelemetry import metrics
    afterword.configure("shop")
    metrics.get_meter("test").create_counter("orders").add(3)
    metrics.get_meter_provider().shutdown()
"""

PROVIDERS = """
    from opentelemetry import _logs, metrics, trace
    print(type(trace.get_tracer_provider()).__name__)
    print(type(metrics.get_meter_provider()).__name__)
    print(type(_logs.get_logger_provider()).__name__)
"""

CONFIGURE = """
    import afterword
    afterword.configure()
"""

SERVICE = """
    import afterword
    from opentelemetry import trace
    afterword.configure("shop")
    print(trace.get_tracer_provider().resource.attributes["service.name"])
"""


def json_lines(text: str) -> list[dict]:
    """Parse one JSON document a line."""
    return [json.loads(line) for line in text.splitlines()]


def test_json_when_not_on_a_terminal():
    """Elsewhere than on a terminal every line is JSON, with time, level and traceback."""
    printed, _ = run_fresh(LOG_A_LINE.format(arguments=""))
    hello, broken = json_lines(printed)
    assert (hello["event"], hello["number"], hello["level"]) == ("hello", 7, "info")
    assert hello["timestamp"].endswith("Z")
    assert (broken["event"], broken["level"]) == ("broken", "error")
    assert "ZeroDivisionError" in json.dumps(broken)
    assert "hunter2" not in json.dumps(broken)


def test_text_when_asked_for():
    """`json_logs=False` gives text for people, wherever it goes."""
    printed, _ = run_fresh(LOG_A_LINE.format(arguments="json_logs=False"))
    assert "hello" in printed
    assert "number" in printed
    assert not printed.startswith("{")
    assert "ZeroDivisionError" in printed


def test_lines_carry_the_trace_without_any_exporter():
    """Without an exporter spans go nowhere, and lines still carry their ids."""
    printed, complained = run_fresh("""
        import afterword, structlog
        from opentelemetry import trace
        afterword.configure()
        with trace.get_tracer("test").start_as_current_span("work"):
            structlog.get_logger().info("hello")
    """)
    [line] = json_lines(printed)
    assert (len(line["trace_id"]), len(line["span_id"])) == (32, 16)
    assert complained == ""


def test_what_the_user_has_configured_stays():
    """A structlog configuration and providers of the user's own are left alone."""
    printed, _ = run_fresh("""
        import afterword, structlog
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        mine = TracerProvider(), MeterProvider()
        trace.set_tracer_provider(mine[0])
        metrics.set_meter_provider(mine[1])
        structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
        afterword.configure("shop", json_logs=True)
        print(trace.get_tracer_provider() is mine[0], metrics.get_meter_provider() is mine[1])
        structlog.get_logger().info("hello")
    """)
    assert printed.splitlines() == ["True True", "event='hello'"]


def test_configuring_twice_changes_nothing():
    """A second call finds everything set up."""
    printed, complained = run_fresh("""
        import afterword
        from opentelemetry import trace
        afterword.configure("shop")
        provider = trace.get_tracer_provider()
        afterword.configure("other")
        print(trace.get_tracer_provider() is provider)
    """)
    assert (printed, complained) == ("True\n", "")


def test_without_an_exporter_only_spans_are_made():
    """Meter and logger providers without a reader would work for nobody."""
    printed, _ = run_fresh(CONFIGURE + PROVIDERS)
    assert printed.split() == ["TracerProvider", "_ProxyMeterProvider", "ProxyLoggerProvider"]


def test_the_console_exporter_of_traces():
    """`OTEL_TRACES_EXPORTER=console` prints the spans, with the service's name."""
    printed, _ = run_fresh(SPAN, OTEL_TRACES_EXPORTER="console")
    span = json.loads(printed)
    assert span["name"] == "work"
    assert span["resource"]["attributes"]["service.name"] == "shop"


def test_the_console_exporter_of_metrics():
    """`OTEL_METRICS_EXPORTER=console` prints the metrics, with the service's name."""
    printed, _ = run_fresh(COUNT, OTEL_METRICS_EXPORTER="console")
    document = json.loads(printed)
    assert "orders" in printed
    assert document["resource_metrics"][0]["resource"]["attributes"]["service.name"] == "shop"


def test_the_console_exporter_of_logs():
    """`OTEL_LOGS_EXPORTER=console` sets up a logger provider."""
    printed, _ = run_fresh(CONFIGURE + PROVIDERS, OTEL_LOGS_EXPORTER="console")
    assert printed.split() == ["TracerProvider", "_ProxyMeterProvider", "LoggerProvider"]


@pytest.mark.parametrize("value", ["none", "", "none,"])
def test_no_exporter_is_asked_for(value):
    """`none` and nothing at all mean no exporter, without a complaint."""
    printed, complained = run_fresh(SPAN, OTEL_TRACES_EXPORTER=value)
    assert (printed, complained) == ("", "")


def test_an_unknown_exporter_gives_one_warning():
    """An exporter that is not installed is named once, and nothing else fails."""
    printed, complained = run_fresh(SPAN, OTEL_TRACES_EXPORTER="carrier-pigeon")
    assert printed == ""
    assert complained.count("carrier-pigeon") == 1
    assert "Traceback" not in complained


def test_several_exporters():
    """Of a list, the ones that exist are used."""
    printed, complained = run_fresh(SPAN, OTEL_TRACES_EXPORTER="carrier-pigeon, console")
    assert json.loads(printed)["name"] == "work"
    assert complained.count("carrier-pigeon") == 1


@pytest.mark.parametrize(
    "environment", [{"OTEL_SERVICE_NAME": "theirs"}, {"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=theirs"}]
)
def test_the_environment_names_the_service(environment):
    """The service's name in the environment wins over the argument."""
    assert run_fresh(SERVICE, **environment)[0] == "theirs\n"


def test_the_argument_names_the_service():
    """Without a name in the environment the argument counts."""
    assert run_fresh(SERVICE)[0] == "shop\n"


def test_exporters_are_left_to_fastapi():
    """Where FastAPI configures exporters from the environment, we add none; it would export everything twice."""
    environment = {"FASTAPI_OTEL_AUTO_CONFIGURE": "true", "OTEL_TRACES_EXPORTER": "console"}
    printed, _ = run_fresh(SPAN, **environment)
    assert bool(printed) != NATIVE_TELEMETRY


def test_a_disabled_sdk_stays_disabled():
    """`OTEL_SDK_DISABLED=true` means no spans, no exporters, no complaints."""
    environment = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"}
    assert run_fresh(SPAN, **environment) == ("", "")
    assert run_fresh(COUNT, OTEL_SDK_DISABLED="true", OTEL_METRICS_EXPORTER="console") == ("", "")


@pytest.mark.parametrize(
    ("arguments", "name"), [({"service_name": 7}, "service_name"), ({"json_logs": "yes"}, "json_logs")]
)
def test_a_bad_argument_is_named(arguments, name):
    """A bad argument raises, says which one it was, and sets up nothing."""
    with pytest.raises(TypeError, match=f"^{name}: "):
        afterword.configure(**arguments)
