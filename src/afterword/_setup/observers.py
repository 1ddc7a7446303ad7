"""How the observers of an application are made, and what is looked at on its loops; what fails is left out."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

from opentelemetry.metrics import get_meter_provider

from .._common import semconv, task_names
from .._common.faults import EXITS
from .._common.log import emit, log_fault
from .._common.observer import TaskObserver
from .._ledger.ending import ending
from .._ledger.instrumentation import Instrumentation, Settings
from .._ledger.runs import running
from .._signals.loop.lag import watch
from .._signals.meanwhile import slow
from .._signals.missing_sdk import is_set_up
from .._signals.otel_logs import OpenTelemetryLogs
from .._signals.otel_metrics import OtelMetrics
from .._signals.prometheus import CountsRequests, Prometheus, PrometheusFiles, Unavailable
from .._signals.tellers import Lines, Teller
from .._starlette.execution import frames_of
from .._views.account import Histogram

Metrics = OtelMetrics | Prometheus | PrometheusFiles


@contextmanager
def signal(name: str) -> Iterator[None]:
    """Leave out a signal whose library fails. Errors that the user has to fix are still raised."""
    try:
        yield
    except Unavailable as reason:
        emit("error", semconv.EVENT_METRICS, {semconv.KEY_DETAIL: f"no {name}: {reason}"})
    except (ValueError, *EXITS):
        raise
    except BaseException as fault:  # noqa: BLE001
        log_fault(f"there are no {name}, since their library fails", fault)


def join_when_set_up(instrumentation: Instrumentation, observer: TaskObserver) -> None:
    """Add the observer of a meter provider; of the global one only when it has been set, perhaps later."""
    provider = instrumentation.settings.meter_provider
    instrumentation.late = observer, lambda: is_set_up(provider or get_meter_provider())
    instrumentation.let_join()
    instrumentation.asks_at = 0.0  # the first request or task asks again: the provider may be set by then


def usual_of(observers: Iterable[TaskObserver]) -> Callable[[str], float | None]:
    """Return what says how long a task usually takes, in seconds: the metrics know, if this process has any."""
    for observer in observers:
        if isinstance(observer, CountsRequests):
            counts_of = observer.succeeded_counts
            return lambda name: p95(counts_of(name))
    return lambda _: None


def p95(counts: Sequence[float]) -> float | None:
    """Return what 95 % of the values in these buckets are at most, as Prometheus reckons it, if there are any."""
    times = Histogram()
    times.buckets.update(zip(semconv.BOUNDS, accumulate(counts), strict=False))
    return times.quantile(0.95)


def tellers_of(settings: Settings) -> list[Teller]:
    """Return who is told of what is no run's end: the log, and OpenTelemetry's logs."""
    tellers: list[Teller] = [Lines()] if settings.logs else []
    return [*tellers, *(each for each in settings.observers if isinstance(each, OpenTelemetryLogs))]


def prepared(observer: Metrics) -> Metrics:
    """Start series for the tasks that are declared with ``@task``."""
    for name in task_names.declared():
        observer.prepare(name)
    return observer


def watch_loop(instrumentation: Instrumentation) -> None:
    """Watch the event loop that serves an application."""
    tellers = tellers_of(instrumentation.settings)
    looks = bool(tellers) or instrumentation.journal is not None
    each_time = partial(_look_safely, weakref.ref(instrumentation), tellers) if looks else None
    watch(instrumentation, running, tellers, each_time=each_time)


def _look_safely(instrumented: weakref.ref[Instrumentation], tellers: Sequence[Teller]) -> None:
    """See whether there is something to tell that no run's end tells; the watch keeps nobody alive."""
    instrumentation = instrumented()
    if instrumentation is not None:
        failsafe = instrumentation.failsafe
        failsafe("looking for a shutdown", ending.look, instrumentation)
        if tellers:
            where = "looking where slow tasks stand"
            look = partial(slow.look, running, lambda runs: failsafe(where, frames_of, runs))
            failsafe("looking for slow tasks", look, tellers)
