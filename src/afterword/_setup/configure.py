"""``configure`` sets up OpenTelemetry and structlog for an application that has not done so."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

import structlog
from opentelemetry import metrics, trace

from .._common.faults import EXITS
from .._common.log import warn
from .._ledger.shutdown import flushed
from .._signals import missing_sdk
from .._signals.log_processors import add_context
from .._starlette.interop import has_native

_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


def configure(service_name: str | None = None, *, json_logs: bool | None = None) -> None:
    """Set up OpenTelemetry's SDK from the standard ``OTEL_*`` environment, and structlog.

    Providers and a structlog configuration that you have set up already are left alone. Without an exporter in
    the environment (``OTEL_TRACES_EXPORTER``, ``OTEL_EXPORTER_OTLP_ENDPOINT`` and the like), spans are created, so
    that logs carry their ids, but not exported. If ``FASTAPI_OTEL_AUTO_CONFIGURE`` is on, exporters are left to
    FastAPI, which would add them a second time. If the SDK cannot read a variable, its signal is left out, with a
    warning. Pending telemetry is exported when the application's lifespan ends.

    Args:
        service_name: the ``service.name`` of the resource; ``OTEL_SERVICE_NAME`` wins.
        json_logs: ``True`` for JSON lines, ``False`` for coloured text; by default text on a terminal, else JSON.

    Raises:
        TypeError: an argument is of the wrong kind; the message names it.
    """
    if service_name is not None and not isinstance(service_name, str):
        raise TypeError(f"service_name: a string is needed, not {service_name!r}")
    if json_logs is not None and not isinstance(json_logs, bool):
        raise TypeError(f"json_logs: True, False or None is needed, not {json_logs!r}")
    _configure_opentelemetry(service_name)
    if not structlog.is_configured():
        _configure_structlog(not sys.stdout.isatty() if json_logs is None else json_logs)


def _configure_structlog(as_json: bool) -> None:
    # no local variables in frames: they hold task arguments and request bodies
    rendering: list[Any] = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    if as_json:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        rendering = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_context,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _configure_opentelemetry(service_name: str | None) -> None:
    from opentelemetry import _logs  # not stable yet, so imported only here

    resource = _resource(service_name)
    left_to_fastapi = has_native() and os.environ.get("FASTAPI_OTEL_AUTO_CONFIGURE", "").lower() == "true"
    for signal, provider, set_up in (
        ("traces", trace.get_tracer_provider(), _configure_traces),
        ("metrics", metrics.get_meter_provider(), _configure_metrics),
        ("logs", _logs.get_logger_provider(), _configure_logs),
    ):
        if missing_sdk.is_set_up(provider):
            continue
        try:
            set_up(resource, [] if left_to_fastapi else _exporters(signal))
        except EXITS:
            raise
        except BaseException as exc:  # noqa: BLE001  a variable that the SDK cannot read must not stop the application
            warn("OpenTelemetry's %s could not be set up: %r", signal, exc)


def _configure_traces(resource: Any, exporters: list[Any]) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    if exporters:
        flushed.add(provider)


def _configure_metrics(resource: Any, exporters: list[Any]) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    if not exporters:  # without a reader, nothing would collect the instruments
        return
    readers = [e if isinstance(e, MetricReader) else PeriodicExportingMetricReader(e) for e in exporters]
    provider = MeterProvider(readers, resource=resource)
    metrics.set_meter_provider(provider)
    flushed.add(provider)


def _configure_logs(resource: Any, exporters: list[Any]) -> None:
    from opentelemetry import _logs
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    if not exporters:
        return
    provider = LoggerProvider(resource=resource)
    for exporter in exporters:
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    _logs.set_logger_provider(provider)
    flushed.add(provider)


def _resource(service_name: str | None) -> Any:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {} if service_name is None or named else {SERVICE_NAME: service_name}
    try:
        return Resource.create(ours)
    except EXITS:
        raise
    except BaseException as exc:  # noqa: BLE001  a resource detector with `raise_on_error`
        warn("OpenTelemetry's resource could not be created: %r", exc)
        return Resource(ours)


def _exporters(signal: str) -> list[Any]:
    """Create the exporters that the environment names for a signal."""
    return [made for name in _exporter_names(signal) if (made := _make(signal, name)) is not None]


def _exporter_names(signal: str) -> Iterator[str]:
    upper = signal.upper()
    asked = os.environ.get(f"OTEL_{upper}_EXPORTER")
    if not asked:  # an empty variable counts as unset
        endpoints = (f"OTEL_EXPORTER_OTLP_{upper}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        asked = "otlp" if any(os.environ.get(endpoint) for endpoint in endpoints) else ""
    for name in asked.split(","):
        if name.strip() == "otlp":
            variables = (f"OTEL_EXPORTER_OTLP_{upper}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
            protocol = next(filter(None, map(os.environ.get, variables)), "http/protobuf")
            yield _PROTOCOLS.get(protocol, protocol)
        elif name.strip() not in ("", "none"):
            yield name.strip()


def _make(signal: str, name: str) -> Any:
    for entry in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        try:
            exporter: Callable[[], Any] = entry.load()
            return exporter()
        except EXITS:
            raise
        except BaseException as exc:  # noqa: BLE001  its own dependencies, or a variable that it cannot read
            warn("the %s exporter %r cannot be used: %r", signal, name, exc)
            return None
    package = f"opentelemetry-exporter-{name.replace('_', '-')}"
    hint = f" (pip install {package})" if name in _PROTOCOLS.values() else ""
    warn("no %s exporter named %r is installed%s; nothing is exported", signal, name, hint)
    return None
