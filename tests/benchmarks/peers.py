"""The peers, set up as their documentation says, except that nothing leaves the process.

Each is imported here before FastAPI is: some patch on import. Exporting is not measured: what a peer would send is
dropped at its own documented place for that.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_kept: list[Any] = []


def native() -> Any:
    """FastAPI's own telemetry: one span per injected task."""
    from opentelemetry.sdk.trace import TracerProvider

    from tests.benchmarks.dropping import DroppingProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(DroppingProcessor())
    from fastapi import FastAPI

    from tests.benchmarks.shop import furnish

    return furnish(FastAPI(telemetry={"tracer_provider": provider, "metrics": False, "logs": False}))


def contrib() -> Any:
    """OpenTelemetry's instrumentation for FastAPI: one span per task, without attributes."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    from tests.benchmarks.dropping import DroppingProcessor
    from tests.benchmarks.shop import furnish, quiet_app

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(DroppingProcessor())
    app = furnish(quiet_app())
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


def logfire() -> Any:
    """Logfire: contrib's span with its own additions."""
    import logfire

    from tests.benchmarks.dropping import DroppingProcessor
    from tests.benchmarks.shop import furnish, quiet_app

    logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[DroppingProcessor()])
    app = furnish(quiet_app())
    logfire.instrument_fastapi(app)
    return app


def datadog(*, writing: bool = False) -> Any:
    """Datadog: two spans per injected task, dropped, or written to an agent that says yes to everything."""
    if writing:
        _prepare_datadog(_agent())
        import ddtrace.auto  # noqa: F401
    else:
        start_datadog(lambda _: None)
    from tests.benchmarks.shop import furnish, quiet_app

    return furnish(quiet_app())


def start_datadog(keep: Callable[[list[Any]], object]) -> None:
    """Start Datadog's tracer; a finished trace's spans are handed over and not written."""
    _prepare_datadog(agent=9)
    import ddtrace.auto  # noqa: F401
    from ddtrace.trace import TraceFilter, tracer

    class Keep(TraceFilter):
        """Takes finished traces before they are written."""

        def process_trace(self, trace: Any) -> None:
            keep(trace)

    tracer.configure(trace_processors=[Keep()])


def _prepare_datadog(agent: int) -> None:
    os.environ.update(
        DD_TRACE_AGENT_URL=f"http://127.0.0.1:{agent}",
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
        DD_REMOTE_CONFIGURATION_ENABLED="false",
        DD_CRASHTRACKING_ENABLED="false",
    )


def _agent() -> int:
    """Start an agent on loopback, in a process of its own that ends with this one; return its port."""
    program = Path(__file__).with_name("fake_agent.py")
    process = subprocess.Popen([sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    _kept.append(process)
    if process.stdout is None:
        raise RuntimeError("the agent says nothing")
    return int(process.stdout.readline())


def newrelic() -> Any:
    """New Relic: one transaction per task, and metrics of it."""
    start_newrelic()
    from tests.benchmarks.shop import furnish, quiet_app

    return furnish(quiet_app())


def start_newrelic() -> None:
    """Start New Relic's agent in its developer mode, in which it connects to nobody."""
    os.environ.update(
        NEW_RELIC_LICENSE_KEY="0" * 40,
        NEW_RELIC_APP_NAME="benchmark",
        NEW_RELIC_DEVELOPER_MODE="true",
        NEW_RELIC_STARTUP_TIMEOUT="10",
        NEW_RELIC_LOG="stderr",
        NEW_RELIC_LOG_LEVEL="critical",
    )
    import newrelic.agent

    newrelic.agent.initialize()
    newrelic.agent.register_application(timeout=10)


def sentry() -> Any:
    """Sentry: no span for a task; its time is in the request's transaction."""
    start_sentry(lambda _: None)
    from tests.benchmarks.shop import furnish, quiet_app

    return furnish(quiet_app())


def start_sentry(keep: Callable[[Any], object]) -> None:
    """Start Sentry; what it would send is handed over instead."""
    import sentry_sdk
    from sentry_sdk.transport import Transport

    class Keep(Transport):
        """Takes envelopes."""

        def capture_envelope(self, envelope: Any) -> None:
            keep(envelope)

        def flush(self, *_: Any, **__: Any) -> None: ...

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Keep, traces_sample_rate=1.0)
