"""Spans, metrics and log records go to a collector.

``OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 uvicorn examples.otlp:app``, with ``pip install '.[otlp]'``.
"""

from fastapi import BackgroundTasks, FastAPI, HTTPException

from afterword import configure, instrument
from afterword.logs import OpenTelemetryLogs

configure("shop")  # sets up OpenTelemetry's SDK from the OTEL_* variables, and structlog

app = FastAPI()
instrument(app, metrics_path=None, observers=[OpenTelemetryLogs()])


def send_receipt(order: int) -> None:
    """Be the task."""


@app.post("/orders/{order}")
def place(order: int, tasks: BackgroundTasks) -> str:
    """Schedule it, and fail for an order that cannot be had."""
    tasks.add_task(send_receipt, order)
    if order == 13:
        raise HTTPException(409, "sold out")
    return "thank you"
