"""What our configurations have around them: an SDK that pays for every span, a log that goes nowhere."""

import logging
import os
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from tests.benchmarks.dropping import DroppingProcessor


def trace_into_nothing(*, sampled: bool = True) -> TracerProvider:
    """Set the global tracer provider: the SDK's, whose spans are dropped, or not sampled at all."""
    options: dict[str, Any] = {} if sampled else {"sampler": ALWAYS_OFF}
    provider = TracerProvider(shutdown_on_exit=False, **options)
    provider.add_span_processor(DroppingProcessor())
    trace.set_tracer_provider(provider)
    return provider


def log_into_nothing(level: int = logging.INFO) -> None:
    """Configure structlog as in production: JSON lines, above a level."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(open(os.devnull, "w")),  # noqa: SIM115
        cache_logger_on_first_use=True,
    )
