"""``instrument`` and ``uninstrument`` one Celery application. Celery is imported only by who asks for this."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from celery import signals
from opentelemetry.trace import TracerProvider, get_tracer_provider

from .._celery.instrumentation import CeleryInstrumentation, all_open, remember
from .._celery.interop import recognise_span
from .._celery.patches import hooks
from .._celery.queues import Watch
from .._celery.redelivery import still_has
from .._common.faults import contained
from .._common.model import RequestInfo
from .._common.observer import TaskObserver
from .._ledger.ages import oldest_ages
from .._ledger.ending import ending
from .._ledger.instrumentation import Instrumentation, Settings, get_instrumentation, set_instrumentation
from .._ledger.journal.queue_observers import with_journal
from .._ledger.queue import QueueLedger
from .._signals.logs import Logs
from .._signals.meanwhile.shutdown import ShutdownLines
from .._signals.otel_metrics import otel_metrics
from .._signals.prometheus import exported_by_opentelemetry
from .._signals.queues.otel_metrics import QueueOtelMetrics
from .._signals.queues.prometheus import queue_prometheus
from .._signals.queues.traces import QueueTraces
from .._signals.tallies.depths import note
from .._starlette.http_route import locate
from .._starlette.state import current_request
from . import worker_metrics
from .journal import connect, journal_of
from .observers import join_when_set_up, signal, tellers_of, usual_of

_FLUSH_MILLISECONDS: Final = 1000
_providers: weakref.WeakSet[TracerProvider] = weakref.WeakSet()
"""The providers of Celery applications, besides the global one."""


def apply(app: Any, settings: Settings) -> Instrumentation | None:
    """Instrument a Celery application, replacing earlier settings; ``None`` if it cannot be observed."""
    if not hooks.is_compatible():
        return None
    journal = journal_of(settings)
    counting, telling = _observers(settings)
    if journal is not None:
        counting = with_journal(journal, counting)
    instrumentation = CeleryInstrumentation(settings, QueueLedger(counting), telling, _current_request)
    if settings.metrics:
        with signal("OpenTelemetry metrics"):
            observer = QueueOtelMetrics(otel_metrics(settings.meter_provider, oldest_ages))
            join_when_set_up(instrumentation, observer)
    instrumentation.asks_broker = partial(still_has, weakref.ref(app))
    if journal is not None:
        instrumentation.failsafe("connecting the journal", connect, journal, instrumentation)
    tellers = tellers_of(settings)
    if tellers:
        instrumentation.on_shutdown = ShutdownLines(usual_of(counting), tellers)
    uninstrument(app)
    if settings.metrics:
        instrumentation.watch = Watch(app, instrumentation, note)
    set_instrumentation(app, instrumentation)
    remember(app, instrumentation)
    hooks.install(app)
    if settings.tracer_provider is not None:
        _providers.add(settings.tracer_provider)
    return instrumentation


def flush_child(**more: Any) -> None:
    """Receive ``worker_process_shutdown``: a child ends without what would export its last spans at exit."""
    for provider in {id(each): each for each in (get_tracer_provider(), *_providers)}.values():
        flush = getattr(provider, "force_flush", None)
        if flush is not None:
            with contained():
                flush(_FLUSH_MILLISECONDS)


def shutting_down(**more: Any) -> None:
    """Receive ``worker_shutting_down``, in a signal's handler: whoever was interrupted may hold any lock."""
    threading.Thread(target=_each, args=(ending.begin,), name="afterword-shutdown", daemon=True).start()


def shut_down(**more: Any) -> None:
    """Receive ``worker_shutdown``: the pool has ended."""
    _each(ending.end)


def _each(tell: Callable[[Instrumentation], None]) -> None:
    for instrumentation in all_open():
        instrumentation.failsafe("telling of the shutdown", tell, instrumentation)


hooks.receivers += [
    (signals.worker_shutting_down, shutting_down),
    (signals.worker_shutdown, shut_down),
    (signals.worker_ready, worker_metrics.serve),
    (signals.beat_init, worker_metrics.serve_beat),
    (signals.worker_process_shutdown, flush_child),
]


def uninstrument(app: Any) -> None:
    """Remove Afterword from a Celery application; does nothing if it is not instrumented."""
    instrumentation = get_instrumentation(app)
    if instrumentation is not None:
        instrumentation.closed = True
        if isinstance(instrumentation, CeleryInstrumentation) and instrumentation.watch is not None:
            instrumentation.watch.stop()
        set_instrumentation(app, None)
        hooks.uninstall(app)


def _observers(settings: Settings) -> tuple[list[TaskObserver], list[TaskObserver]]:
    """Return the observers that count, and those that tell of one task at a time, where it runs."""
    counting: list[TaskObserver] = []
    telling: list[TaskObserver] = []
    if settings.traces:
        with signal("traces"):
            telling.append(QueueTraces(recognise_span, settings.tracer_provider, new_trace=settings.new_trace))
    if settings.logs:
        with signal("logs"):
            telling.append(Logs())
    registry = settings.registry
    if settings.metrics and registry is not None and not exported_by_opentelemetry(registry):
        with signal("Prometheus series"):
            counting.append(queue_prometheus(registry, oldest_ages))
    return [*counting, *settings.observers], telling


def _current_request() -> RequestInfo | None:
    """Return the web request that this code belongs to, if the process serves any."""
    request = current_request()
    if request is None:
        return None
    locate(request)
    return request.info
