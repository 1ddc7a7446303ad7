"""``instrument`` and ``uninstrument``: wire one application."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, overload

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client import REGISTRY, CollectorRegistry
from starlette.applications import Starlette

from . import exposition, hooks, multiprocess, names, request_tracing
from .account import Account, Settings, account_of, set_account
from .emit import emit
from .ledger import Ledger
from .model import TaskObserver
from .signals.logs import Logs
from .signals.otel_metrics import otel_metrics
from .signals.prometheus import Prometheus, exported_by_opentelemetry
from .signals.tracing import Tracing

Function = TypeVar("Function", bound=Callable[..., Any])


class _Default:
    def __repr__(self) -> str:
        return "'/metrics'"


_DEFAULT_PATH: Final = "/metrics"
_DEFAULT: Final = _Default()


def instrument(
    app: Starlette,
    *,
    traces: bool = True,
    metrics: bool = True,
    logs: bool = True,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    registry: CollectorRegistry | None = REGISTRY,
    metrics_path: str | _Default | None = _DEFAULT,
    on_request_error: Iterable[Callable[..., Any]] = (),
    on_task_failure: Iterable[Callable[..., Any]] = (),
    observers: Iterable[TaskObserver] = (),
    new_trace: bool = False,
) -> None:
    """Account for every background task of a FastAPI or Starlette application.

    May be called anywhere: before or after routes, middleware and mounts, also in the lifespan. Calling it again
    with the same settings does nothing, with others replaces them.

    Args:
        app: the application. One mounted inside it joins its account.
        traces: one span per task; a span that FastAPI or OpenTelemetry contrib opens for it is adopted.
        metrics: Prometheus series in ``registry`` and OpenTelemetry instruments.
        logs: structured log lines through structlog, or the stdlib logger ``epilogue``.
        tracer_provider: where spans go; the global provider by default.
        meter_provider: where OpenTelemetry metrics go; the global provider by default.
        registry: the Prometheus registry; ``None`` for no Prometheus series. Applications may share one.
        metrics_path: where Prometheus scrapes, ``/metrics`` by default; ``None`` for no route.
        on_request_error: called as ``function(request, exc)``, sync or async, after the error response.
        on_task_failure: called as ``function(run, exc)``, sync or async, after a task failed.
        observers: told of every transition, beside the built-in signals.
        new_trace: start a new trace for every task, linked to its request's.

    Raises:
        TypeError: an argument is of the wrong kind; the message names it.
        ValueError: ``metrics_path`` has no leading slash or is taken by a route, or ``registry`` holds
            metrics of our names that are not ours.
    """
    _check_app(app)
    path_given = not isinstance(metrics_path, _Default)
    path = _DEFAULT_PATH if isinstance(metrics_path, _Default) else metrics_path
    settings = Settings(
        traces=traces,
        metrics=metrics,
        logs=logs,
        tracer_provider=_checked_provider("tracer_provider", tracer_provider, "get_tracer"),
        meter_provider=_checked_provider("meter_provider", meter_provider, "get_meter"),
        registry=_checked_registry(registry),
        metrics_path=_checked_path(path),
        on_request_error=_checked_functions("on_request_error", on_request_error),
        on_task_failure=_checked_functions("on_task_failure", on_task_failure),
        observers=_checked_observers(observers),
        new_trace=new_trace,
    )
    known = account_of(app)
    if known is not None and known.settings == settings:
        return
    if path_given and path is not None and _taken(app, path):
        raise ValueError(f"metrics_path: {path!r} is already a route of this application")
    account = Account(settings, Ledger(_observers(settings)))
    if known is not None:
        uninstrument(app)
    if metrics and registry is not None and path is not None and not _taken(app, path):
        account.route = exposition.add_route(app, path, registry)
        request_tracing.exclude(app, path)
    if traces:
        account.traces_requests = request_tracing.trace(app, settings, path)
    if new_trace:
        request_tracing.warn_of_adoption(app)
    set_account(app, account)
    hooks.install(app)


def uninstrument(app: Starlette) -> None:
    """Take Epilogue out of an application again.

    The hooks and the route go; runs already scheduled are still accounted for, and the series stay. Does nothing
    for an application that is not instrumented; raises ``TypeError`` for what is no application.
    """
    _check_app(app)
    account = account_of(app)
    if account is None:
        return
    account.closed = True
    set_account(app, None)
    if account.route is not None:
        exposition.remove_route(app, account.route)
        request_tracing.include(app)
    if account.traces_requests:
        request_tracing.untrace(app)
    hooks.uninstall(app)


@overload
def task(name: Function) -> Function: ...


@overload
def task(name: str | None = None, *, run_on_request_error: bool = False) -> Callable[[Function], Function]: ...


def task(name: Any = None, *, run_on_request_error: bool = False) -> Any:
    """Describe a function that is used as a background task; a decorator that returns the function itself.

    Args:
        name: its name in all signals, instead of ``module.qualname``.
        run_on_request_error: run it after the error response, instead of dropping it, if its request fails.

    Raises:
        TypeError: ``name`` is no string, or what is decorated is not callable or takes no attributes.
    """
    if callable(name):
        return task()(name)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name: a string is needed, not {name!r}")

    def describe(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"task: a function is needed, not {function!r}")
        try:
            names.declare(function, names.TaskOptions(name, run_on_request_error))
        except (AttributeError, TypeError) as exc:
            raise TypeError(f"task: {function!r} takes no attributes; decorate a function around it") from exc
        return function

    return describe


def _observers(settings: Settings) -> list[TaskObserver]:
    """Return the observers of an application; tracing first, since the others use its ids."""
    observers: list[TaskObserver] = []
    if settings.traces:
        observers.append(Tracing(settings.tracer_provider, new_trace=settings.new_trace))
    if settings.metrics:
        counting: list[Any] = [otel_metrics(settings.meter_provider)]
        if settings.registry is not None and _can_hold_series(settings.registry):
            counting.append(Prometheus(settings.registry))
        for observer in counting:
            for name in names.declared():
                observer.prepare(name)
        observers.extend(counting)
    if settings.logs:
        observers.append(Logs())
    return [*observers, *settings.observers]


def _can_hold_series(registry: CollectorRegistry) -> bool:
    complaint = multiprocess.complaint(multiprocess.directory())
    if complaint is not None:
        emit("error", names.EVENT_METRICS, {names.KEY_DETAIL: f"no Prometheus series: {complaint}"})
    return complaint is None and not exported_by_opentelemetry(registry)


def _taken(app: Starlette, path: str) -> bool:
    return exposition.path_taken(app.router.routes, path)


def _check_app(app: Any) -> None:
    if not isinstance(app, Starlette):
        raise TypeError(f"app: a FastAPI or Starlette application is needed, not {app!r}")


def _checked_provider(argument: str, provider: Any, method: str) -> Any:
    # by its method, since vendors' providers need not inherit from OpenTelemetry's
    if provider is not None and not callable(getattr(provider, method, None)):
        raise TypeError(f"{argument}: an OpenTelemetry provider or None is needed, not {provider!r}")
    return provider


def _checked_registry(registry: Any) -> CollectorRegistry | None:
    if registry is not None and not isinstance(registry, CollectorRegistry):
        raise TypeError(f"registry: a prometheus_client.CollectorRegistry or None is needed, not {registry!r}")
    return registry


def _checked_path(path: Any) -> str | None:
    if path is None:
        return None
    if not isinstance(path, str):
        raise TypeError(f"metrics_path: a string or None is needed, not {path!r}")
    if not path.startswith("/"):
        raise ValueError(f"metrics_path: {path!r} must start with a slash")
    return path


def _checked_functions(argument: str, functions: Any) -> tuple[Callable[..., Any], ...]:
    if callable(functions) or not isinstance(functions, Iterable) or isinstance(functions, str):
        raise TypeError(f"{argument}: a list of functions is needed, not {functions!r}")
    checked = tuple(functions)
    for function in checked:
        if not callable(function):
            raise TypeError(f"{argument}: {function!r} is not callable")
    return checked


def _checked_observers(observers: Any) -> tuple[TaskObserver, ...]:
    if isinstance(observers, TaskObserver) or not isinstance(observers, Iterable):
        raise TypeError(f"observers: a list of TaskObserver instances is needed, not {observers!r}")
    checked = tuple(observers)
    for observer in checked:
        if not isinstance(observer, TaskObserver):
            raise TypeError(f"observers: {observer!r} is no TaskObserver instance")
    return checked
