"""Zero-code instrumentation: ``opentelemetry-instrument uvicorn app:app`` tracks the tasks of any application.

So does ``opentelemetry-instrument celery -A shop worker``, for Celery's.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from starlette.applications import Starlette

from ._common.faults import EXITS
from ._common.log import log_fault
from ._ledger.instrumentation import Instrumentation, Settings, get_instrumentation
from ._ledger.shutdown import flushed
from ._setup import instrument
from ._setup.celery_application import CeleryApplication, off_creation, on_creation
from ._setup.environment import from_environment
from ._starlette.patches import hooks

_SEEN = "_afterword_seen"
_made: weakref.WeakKeyDictionary[Any, Instrumentation] = weakref.WeakKeyDictionary()
"""The Celery applications that were instrumented without code."""


class BackgroundTaskInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments every application of the process: FastAPI and Starlette on the first call, Celery when made.

    Settings come from ``AFTERWORD_*`` and from the arguments of ``instrument``, which win. They are the arguments
    of ``afterword.instrument``. An application that calls ``afterword.instrument`` or ``afterword.uninstrument``
    itself overrides both.
    """

    _settings: Settings | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the required packages, for OpenTelemetry."""
        return ("starlette >= 0.37.2",)

    @staticmethod
    def instrument_app(app: Starlette | CeleryApplication, **arguments: Any) -> None:
        """Instrument one application; the arguments of ``afterword.instrument`` win over the environment."""
        if not instrument.switched_off():
            instrument.apply_to(app, from_environment(**arguments))

    @staticmethod
    def uninstrument_app(app: Starlette | CeleryApplication) -> None:
        """Remove Afterword from one application."""
        instrument.uninstrument(app)

    def _instrument(self, **arguments: Any) -> None:
        if instrument.switched_off():
            return
        self._settings = from_environment(**arguments)
        if hooks.is_compatible():
            hooks.on_first_call(self._see)
            hooks.install(self)
            flushed.with_global = True
        on_creation(self._see_made)

    def _uninstrument(self, **arguments: Any) -> None:
        flushed.with_global = False
        off_creation(self._see_made)
        for app, instrumentation in list(_made.items()):
            if get_instrumentation(app) is instrumentation:
                instrument.uninstrument(app)
        hooks.off_first_call(self._see)
        hooks.uninstall(self)

    def _see_made(self, app: CeleryApplication) -> None:
        instrumentation = self._see(app)
        if instrumentation is not None:
            _made[app] = instrumentation

    def _see(self, app: Starlette | CeleryApplication) -> Instrumentation | None:
        """Instrument an application on its first sight, unless its own code has (un)instrumented it."""
        if _SEEN in app.__dict__ or self._settings is None or get_instrumentation(app) is not None:
            return None
        app.__dict__[_SEEN] = True
        try:
            return instrument.apply_to(app, self._settings, trace_requests=False)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            log_fault(f"instrumenting {type(app).__name__} failed; it runs as if Afterword were not there", fault)
            return None
