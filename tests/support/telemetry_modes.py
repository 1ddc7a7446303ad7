"""Who else is watching: FastAPI's native telemetry on or off, contrib's instrumentor before or after us."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from tests.support.accounts import Accounts
from tests.support.versions import NATIVE_TELEMETRY


@dataclass(frozen=True)
class TelemetryMode:
    """One combination; ``contrib`` says when its instrumentor is applied, seen from ours."""

    name: str
    native: bool = False
    contrib: str | None = None

    @property
    def traces_requests(self) -> bool:
        """Whether a request has a span of its own; on a FastAPI that cannot, ours sees to it."""
        return self.native or self.contrib is not None or not NATIVE_TELEMETRY

    def fastapi_options(self, accounts: Accounts) -> dict[str, Any]:
        """Return what the application's author would pass to ``FastAPI``."""
        if not NATIVE_TELEMETRY:
            return {}
        if self.native:
            providers = {
                "tracer_provider": accounts.spans.provider,
                "meter_provider": accounts.meter.provider,
            }
            return {"telemetry": providers}
        return {"telemetry": {"tracing": False, "metrics": False, "logs": False}}

    def around(self, instrument: Callable[[], None], app: Any, accounts: Accounts) -> None:
        """Call ours, with contrib's before or after it."""
        with_contrib = self.contrib if isinstance(app, FastAPI) else None
        if with_contrib == "before":
            _apply_contrib(app, accounts)
        instrument()
        if with_contrib == "after":
            _apply_contrib(app, accounts)

    def undo(self, uninstrument: Callable[[], None], app: Any) -> None:
        """Take both away, the last one first."""
        with_contrib = self.contrib if isinstance(app, FastAPI) else None
        if with_contrib == "after":
            FastAPIInstrumentor.uninstrument_app(app)
        uninstrument()
        if with_contrib == "before":
            FastAPIInstrumentor.uninstrument_app(app)


def _apply_contrib(app: FastAPI, accounts: Accounts) -> None:
    if app.middleware_stack is not None:
        return  # its author would have had to come earlier: it cannot be applied to an app that is serving
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=accounts.spans.provider, meter_provider=accounts.meter.provider
    )


_CONTRIB = (TelemetryMode("contrib-before", contrib="before"), TelemetryMode("contrib-after", contrib="after"))

MODES: tuple[TelemetryMode, ...] = (
    (TelemetryMode("native-on", native=True), TelemetryMode("native-off"), *_CONTRIB)
    if NATIVE_TELEMETRY
    else (TelemetryMode("plain"), *_CONTRIB)
)
"""What every scenario runs in."""

COLLISIONS: tuple[TelemetryMode, ...] = (
    (
        TelemetryMode("both-before", native=True, contrib="before"),
        TelemetryMode("both-after", native=True, contrib="after"),
    )
    if NATIVE_TELEMETRY
    else ()
)
"""Native telemetry and contrib's at once: a few scenarios run in these, too."""
