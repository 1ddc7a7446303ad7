"""The settings of ``instrument``, as plain data that can be compared."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .model import TaskObserver, TaskRun

TaskFailureCallback: TypeAlias = Callable[[TaskRun, BaseException | None], object]
"""A function for ``on_task_failure``, sync or async: ``function(run, exc)``.

``exc`` is the exception that the task raised. It is ``None`` if the task returned something that nothing awaits
(``run.reason`` is ``never_awaited``), or if another tool caught the exception; see ``run.detail``.
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of ``instrument``, checked."""

    traces: bool = True
    metrics: bool = True
    logs: bool = True
    tracer_provider: Any = None
    meter_provider: Any = None
    registry: Any = None
    metrics_path: str | None = None
    on_request_error: tuple[Callable[..., object], ...] = ()
    on_task_failure: tuple[TaskFailureCallback, ...] = ()
    observers: tuple[TaskObserver, ...] = ()
    new_trace: bool = False
    path_given: bool = False
    """``metrics_path`` was passed explicitly, so it is an error if the path is taken."""


def opentelemetry_is_disabled() -> bool:
    """Return whether ``OTEL_SDK_DISABLED`` switches OpenTelemetry off."""
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
