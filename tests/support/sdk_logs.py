"""What OpenTelemetry's SDK keeps of log records, as the tests compare it."""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.sdk.resources import Resource


class Kept(NamedTuple):
    """One record."""

    event: str
    severity: int
    body: Any
    trace_id: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class KeptLogs:
    """A logger provider that keeps its records."""

    def __init__(self) -> None:
        self.exporter = export.InMemoryLogRecordExporter()
        self.provider = LoggerProvider(Resource({"service.name": "kept"}), shutdown_on_exit=False)
        self.provider.add_log_record_processor(export.SimpleLogRecordProcessor(self.exporter))

    @property
    def records(self) -> list[Kept]:
        """What has been told so far."""
        return [_kept(data) for data in self.exporter.get_finished_logs()]


def _kept(data: Any) -> Kept:
    record = data.log_record
    return Kept(
        record.event_name,
        record.severity_number.value,
        record.body,
        record.trace_id or 0,
        dict(record.attributes),
        dict(data.resource.attributes),
    )
