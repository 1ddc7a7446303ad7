"""For the user's own logging: ids on every line, one traceback per error, and events for OpenTelemetry's logs."""

from ._signals.log_processors import ReportedFilter, add_context
from ._signals.otel_logs import OpenTelemetryLogs

__all__ = ["OpenTelemetryLogs", "ReportedFilter", "add_context"]
