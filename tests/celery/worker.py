"""What ``celery -A tests.celery.worker worker`` imports: the shop, told by the environment where everything is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY

import afterword
from tests.celery import shop

folder = Path(os.environ["SHOP_FOLDER"])
settings: dict[str, Any] = {}
exec(os.environ.get("SHOP_SETTINGS", ""), {}, settings)

shop.logging_to(folder)
provider: Any = shop.tracing(folder)
if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
    afterword.configure()
    provider = None  # the global one
if "before" in os.environ.get("SHOP_CONTRIB", ""):
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument(tracer_provider=provider)
if "SHOP_DIES" in os.environ:
    shop.die_at_acknowledgement(os.environ["SHOP_DIES"])
app = shop.make(folder, os.environ["SHOP_BROKER"], os.environ.get("SHOP_RESULTS"), **settings)
for name in os.environ.get("SHOP_WITHOUT", "").split():
    app.tasks.pop(name)
if "SHOP_BARE" not in os.environ:
    port = int(os.environ["SHOP_METRICS_PORT"]) if "SHOP_METRICS_PORT" in os.environ else None
    afterword.instrument(
        app,
        tracer_provider=provider,
        registry=REGISTRY,
        metrics_port=port,
        observers=[shop.Board(folder)],
        on_task_failure=[shop.failing(folder), shop.failing_slowly(folder)],
    )
if "after" in os.environ.get("SHOP_CONTRIB", ""):
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument(tracer_provider=provider)
