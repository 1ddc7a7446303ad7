"""``instrument`` and ``uninstrument`` one application."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from fastapi import FastAPI
from fastapi.params import Depends
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.applications import Starlette

from .._common import semconv
from .._common.log import emit, once
from .._common.observer import TaskObserver
from .._ledger.ages import oldest_ages
from .._ledger.instrumentation import (
    Instrumentation,
    Settings,
    TaskFailureCallback,
    get_instrumentation,
    set_instrumentation,
)
from .._ledger.journal.journal import Journal
from .._ledger.journal.observers import with_journal
from .._ledger.recent import RecentRuns
from .._ledger.runs import Ledger
from .._signals.logs import Logs
from .._signals.meanwhile.shutdown import ShutdownLines
from .._signals.otel_metrics import otel_metrics
from .._signals.prometheus import (
    exported_by_opentelemetry,
    prometheus,
)
from .._signals.traces import Traces
from .._starlette import interop
from .._starlette.callbacks import RequestErrorCallback
from .._starlette.http_route import patterns
from .._starlette.interop import recognise_task_span
from .._starlette.patches import hooks
from . import console as console_route
from . import metrics_endpoint
from .arguments import checked, refuse
from .celery_application import CeleryApplication, celery_is_asked_for
from .environment import DEFAULT_PATH, is_disabled
from .journal import connect, journal_of
from .observers import join_when_set_up, prepared, signal, tellers_of, usual_of, watch_loop
from .occupied_path import is_taken
from .response_times import timed
from .worker_siblings import warn_of_siblings


class _Default:
    def __repr__(self) -> str:
        return "'/metrics'"


_DEFAULT: Final = _Default()


def instrument(
    app: Starlette | CeleryApplication,
    *,
    traces: bool = True,
    metrics: bool = True,
    logs: bool = True,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    registry: CollectorRegistry | None = REGISTRY,
    metrics_path: str | _Default | None = _DEFAULT,
    on_request_error: Iterable[RequestErrorCallback] = (),
    on_task_failure: Iterable[TaskFailureCallback] = (),
    observers: Iterable[TaskObserver] = (),
    new_trace: bool = False,
    journal: str | os.PathLike[str] | None = None,
    console: str | None = None,
    console_dependencies: Iterable[Depends] = (),
    exception_messages: bool | None = None,
    response_duration: bool = False,
    metrics_port: int | None = None,
) -> None:
    """Instrument every background task of a FastAPI or Starlette application, or every task of a Celery one.

    Call it anywhere: before or after routes, middleware and mounts, or in the lifespan. A second call with the
    same settings does nothing; with other settings, it replaces them. With ``AFTERWORD_DISABLED=true`` in the
    environment, it only checks its arguments.

    Args:
        app: the application. Applications mounted inside it join its account. Instrument a Celery application in
            the module that makes it: whoever publishes imports it, and so do the workers and beat.
        traces: one span per task; a span that FastAPI or OpenTelemetry contrib opens for it is adopted and
            renamed. ``False`` leaves their spans alone.
        metrics: Prometheus series in ``registry`` and OpenTelemetry instruments.
        logs: structured log lines through structlog, or the stdlib logger ``afterword``.
        tracer_provider: the provider for spans; the global one by default.
        meter_provider: the provider for OpenTelemetry metrics; the global one by default.
        registry: the Prometheus registry; ``None`` for no Prometheus series. Applications may share one. If it
            already has unrelated metrics with our names, an error is logged and our series are left out.
        metrics_path: the route that Prometheus scrapes, ``/metrics`` by default; ``None`` for no route.
        on_request_error: called as ``function(request, exc)``, sync or async, after the error response; see
            ``RequestErrorCallback``.
        on_task_failure: called as ``function(run, exc)``, sync or async, after a task failed; ``exc`` is ``None``
            if the task raised none (``never_awaited``); see ``TaskFailureCallback``.
        observers: called for every transition, in addition to the built-in signals.
        new_trace: start a new trace for every task, linked to the request's trace.
        journal: a directory in which every run is written down, so that whoever comes after a crash can tell what
            was lost. By default that of ``AFTERWORD_JOURNAL``, or none. Applications and processes of one machine
            may share it. If it cannot be used, an error is logged and counted, and there is no journal.
        console: the path of the console, which shows what became of the tasks, such as ``/afterword``. By default
            that of ``AFTERWORD_CONSOLE``, or none. It is open to whoever has its token, which is in the log or in
            ``AFTERWORD_CONSOLE_TOKEN``.
        console_dependencies: dependencies that decide in the token's place who may see the console, such as
            ``[Depends(admin)]``. Only for FastAPI.
        exception_messages: ``False`` withholds the text of every exception, and the values in its traceback, from
            all signals, the journal and the console; types, places and our own ``detail`` stay. By default what
            ``AFTERWORD_EXCEPTION_MESSAGES`` says, or ``True``. One ``False`` is enough for a whole process.
        response_duration: the metric ``afterword.response.duration``, a histogram in seconds by method, route and
            status: how long each answer took until it was sent, without the background work behind it. An answer
            that breaks off is not in it.
        metrics_port: only for Celery: where the main process of a worker serves ``/metrics``; by default the port
            of ``AFTERWORD_WORKER_METRICS_PORT``, or none. A port in use is a warning.

    Raises:
        TypeError: an argument is of the wrong kind, or means nothing for this kind of application; the message
            names it.
        ValueError: ``metrics_path`` or ``console`` is no such path or is taken by a route, or ``journal`` is no
            path.
    """
    path_given = not isinstance(metrics_path, _Default)
    is_celery = celery_is_asked_for(app)
    if is_celery:
        refuse(
            "a Celery application",
            metrics_path=path_given,
            on_request_error=on_request_error != (),
            console=console is not None,
            console_dependencies=console_dependencies != (),
            response_duration=response_duration is not False,
        )
    else:
        _check_app(app)
        refuse("this application", metrics_port=metrics_port is not None)
    settings = checked(
        traces=traces,
        metrics=metrics,
        logs=logs,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        registry=registry,
        metrics_path=metrics_path if path_given else DEFAULT_PATH,
        path_given=path_given,
        on_request_error=on_request_error,
        on_task_failure=on_task_failure,
        observers=observers,
        new_trace=new_trace,
        journal=journal,
        console=console,
        console_dependencies=console_dependencies,
        exception_messages=exception_messages,
        response_duration=response_duration,
        metrics_port=metrics_port,
    )
    if settings.console_dependencies and not isinstance(app, FastAPI):
        raise TypeError(f"console_dependencies: only FastAPI has dependencies, and the application is {app!r}")
    known = get_instrumentation(app)
    if not switched_off() and (known is None or known.settings != settings):
        apply_to(app, settings)


def apply_to(
    app: Starlette | CeleryApplication, settings: Settings, *, trace_requests: bool = True
) -> Instrumentation | None:
    """Instrument an application of either kind, replacing earlier settings; ``None`` if it cannot be observed."""
    if isinstance(app, Starlette):
        return apply(app, settings, trace_requests=trace_requests)
    from . import instrument_celery  # imports Celery

    return instrument_celery.apply(app, settings)


def switched_off() -> bool:
    """Return whether the environment disables instrumentation; logged once."""
    if not is_disabled():
        return False
    if once.first("disabled"):
        detail = "AFTERWORD_DISABLED is set: nothing is instrumented, and no background task is tracked"
        emit("info", semconv.EVENT_DISABLED, {semconv.KEY_DETAIL: detail})
    return True


def apply(app: Starlette, settings: Settings, *, trace_requests: bool = True) -> Instrumentation | None:
    """Instrument an application, replacing earlier settings; ``None`` if it cannot be observed."""
    if not hooks.is_compatible():
        return None
    path = settings.metrics_path
    taken = path is not None and is_taken(app.router.routes, path)
    if taken and settings.path_given:
        raise ValueError(f"metrics_path: {path!r} is already a route of this application")
    console_path = console_route.path_for(app, settings)
    journal = journal_of(settings)
    recent = RecentRuns() if console_path is not None and journal is None else None
    instrumentation = Instrumentation(settings, Ledger(_observers(settings, journal, recent)))
    if settings.metrics:
        with signal("OpenTelemetry metrics"):
            observer = prepared(otel_metrics(settings.meter_provider, oldest_ages))
            join_when_set_up(instrumentation, observer)
        instrumentation.timed = timed if settings.response_duration else None
    tellers = tellers_of(settings)
    if settings.metrics or tellers:
        instrumentation.on_loop = watch_loop
    if tellers:
        instrumentation.on_shutdown = ShutdownLines(usual_of(instrumentation.ledger.observers), tellers)
    if journal is not None:
        instrumentation.failsafe("connecting the journal", connect, journal, instrumentation)
    uninstrument(app)
    source = journal or recent
    if console_path is not None and source is not None:
        instrumentation.console = instrumentation.failsafe(
            "adding the console", console_route.add_route, app, instrumentation, console_path, source
        )
    if settings.metrics and settings.registry is not None and path is not None and not taken:
        instrumentation.route = instrumentation.failsafe(
            "adding the metrics route", metrics_endpoint.add_route, app, path
        )
        warn_of_siblings()
    if instrumentation.route is not None or instrumentation.console is not None:
        instrumentation.failsafe("keeping our own requests out of traces", interop.exclude, app, instrumentation)
    if settings.traces and trace_requests:
        instrumentation.traces_requests = bool(interop.trace(app, settings, patterns(instrumentation)))
    if settings.new_trace:
        instrumentation.failsafe("looking for spans", interop.warn_of_adoption, app)
    set_instrumentation(app, instrumentation)
    hooks.install(app)
    return instrumentation


def uninstrument(app: Starlette | CeleryApplication) -> None:
    """Remove Afterword from an application.

    The hooks and the route are removed. Runs already scheduled are still accounted for, and the series stay. Does
    nothing if the application is not instrumented; raises ``TypeError`` if it is not an application.
    """
    if celery_is_asked_for(app):
        from . import instrument_celery

        instrument_celery.uninstrument(app)
        return
    _check_app(app)
    assert isinstance(app, Starlette)  # noqa: S101  what was just checked
    instrumentation = get_instrumentation(app)
    if instrumentation is None:
        return
    instrumentation.closed = True
    set_instrumentation(app, None)
    if instrumentation.route is not None:
        instrumentation.failsafe(
            "removing the metrics route", metrics_endpoint.remove_route, app, instrumentation.route
        )
    if instrumentation.console is not None:
        instrumentation.failsafe("removing the console", console_route.remove_route, app, instrumentation.console)
    instrumentation.failsafe("letting our own requests into traces", interop.include, app)
    if instrumentation.traces_requests:
        instrumentation.failsafe("ending the tracing of requests", interop.untrace, app)
    hooks.uninstall(app)


def _observers(settings: Settings, journal: Journal | None, recent: RecentRuns | None) -> list[TaskObserver]:
    """Return the observers of an application. Tracing comes first: the others use its ids."""
    traces: list[TaskObserver] = []
    observers: list[TaskObserver] = []
    if settings.traces:
        with signal("traces"):
            traces.append(Traces(recognise_task_span, settings.tracer_provider, new_trace=settings.new_trace))
    if settings.metrics and settings.registry is not None and not exported_by_opentelemetry(settings.registry):
        with signal("Prometheus series"):
            observers.append(prepared(prometheus(settings.registry, oldest_ages)))
    if settings.logs:
        with signal("logs"):
            observers.append(Logs())
    others = [*observers, *settings.observers]
    if journal is not None:
        return with_journal(journal, traces, others)
    return [*traces, *others] if recent is None else [*traces, recent, *others]


def _check_app(app: object) -> None:
    if not isinstance(app, Starlette):
        raise TypeError(f"app: a FastAPI, Starlette or Celery application is needed, not {app!r}")
