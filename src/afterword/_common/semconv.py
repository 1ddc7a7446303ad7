"""Every name on the wire, and the one place that names a task.

A Prometheus name or label is the OpenTelemetry one by the standard translation (dots become underscores, the
unit and ``_total`` are appended), so one dashboard serves a scrape and an OTLP pipeline alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple

from . import foreign
from .cardinality import TASK_NAMES
from .faults import EXITS, contained
from .model import Outcome
from .text import MAX_NAME, clean_name

SCOPE: Final = "afterword"
SPAN_PREFIX: Final = "background_task "


class Metric(NamedTuple):
    """One metric: its OpenTelemetry name and unit, its help text, its attributes."""

    name: str
    unit: str
    help: str
    attributes: tuple[str, ...] = ()

    @property
    def prometheus(self) -> str:
        """The Prometheus name without ``_total``, which the type appends."""
        suffix = "_seconds" if self.unit == "s" else ""
        return self.name.replace(".", "_") + suffix

    @property
    def labels(self) -> tuple[str, ...]:
        """The Prometheus label names, in the order of the attributes."""
        return tuple(attribute.replace(".", "_") for attribute in self.attributes)


# --- attributes: of metrics (labels, too) and of spans ----------------------------------------------------------

TASK_NAME: Final = "background_task.name"
TASK_OUTCOME: Final = "background_task.outcome"
TASK_STATE: Final = "background_task.state"
TASK_RUN_ID: Final = "background_task.run.id"
TASK_REASON: Final = "background_task.reason"
TASK_WAIT: Final = "background_task.wait"
TASK_THREAD_WAIT: Final = "background_task.thread_wait"
TASK_INDEX: Final = "background_task.index"
TASK_DURATION: Final = "background_task.duration"
CODE_FUNCTION: Final = "code.function.name"
ERROR_TYPE: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_REQUEST_ID: Final = "http.request.header.x-request-id"
OBSERVER: Final = "afterword.observer"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
EVENT_NAME: Final = "event.name"

# --- metrics ----------------------------------------------------------------------------------------------------

SCHEDULED = Metric("background_task.scheduled", "{task}", "Background tasks scheduled.", (TASK_NAME,))
STARTED = Metric("background_task.started", "{task}", "Background tasks begun.", (TASK_NAME,))
ENDED = Metric("background_task.ended", "{task}", "Background tasks by outcome.", (TASK_NAME, TASK_OUTCOME))
FAILURES = Metric(
    "background_task.failures", "{failure}", "Failed background tasks by error.", (TASK_NAME, ERROR_TYPE)
)
LOST = Metric("background_task.lost", "{task}", "Background tasks found in a dead process.", (TASK_NAME,))
DURATION = Metric(
    "background_task.duration",
    "s",
    "Time a background task ran, without its wait for a thread.",
    (TASK_NAME, TASK_OUTCOME),
)
WAIT = Metric("background_task.wait", "s", "Time from scheduled to started.", (TASK_NAME,))
THREAD_WAIT = Metric(
    "background_task.thread_wait", "s", "Time a sync task waited for a worker thread.", (TASK_NAME,)
)
PENDING = Metric("background_task.pending", "{task}", "Background tasks not yet begun.", (TASK_NAME,))
RUNNING = Metric("background_task.running", "{task}", "Background tasks running now.", (TASK_NAME,))
OLDEST_AGE = Metric(
    "background_task.oldest_age", "s", "Age of the oldest background task in a state.", (TASK_STATE,)
)
THREADS_BUSY = Metric("afterword.worker_thread.busy", "{thread}", "Worker threads in use.")
THREADS_LIMIT = Metric("afterword.worker_thread.limit", "{thread}", "Worker threads at most.")
THREADS_WAITING = Metric("afterword.worker_thread.waiting", "{thread}", "Callers waiting for a worker thread.")
REQUEST_ERRORS = Metric(
    "afterword.request.errors",
    "{error}",
    "Requests that failed.",
    (HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS, ERROR_TYPE),
)
OBSERVER_ERRORS = Metric("afterword.observer.errors", "{error}", "Errors of observers.", (OBSERVER,))
INFO = Metric("afterword.info", "", "Afterword is accounting for this process.", ("version",))

STATE_PENDING: Final = "pending"
STATE_RUNNING: Final = "running"

# A background task lasts from a cache write to a long export: 5 ms to 10 min, floats as both SDKs want them.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)

# --- log events and keys ----------------------------------------------------------------------------------------

EVENT_SCHEDULED: Final = "background_task.scheduled"
EVENT_STARTED: Final = "background_task.started"
EVENT_ENDED: Final = {outcome: f"background_task.{outcome}" for outcome in Outcome}
EVENT_LOST: Final = "background_task.lost"
EVENT_REQUEST_FAILED: Final = "request.failed"
EVENT_METRICS: Final = "afterword.metrics"
EVENT_TRACES: Final = "afterword.traces"
EVENT_DISABLED: Final = "afterword.disabled"

KEY_TASK: Final = "task"
KEY_TASK_RUN: Final = "task_run"
KEY_OUTCOME: Final = "outcome"
KEY_WAIT: Final = "wait_s"
KEY_THREAD_WAIT: Final = "thread_wait_s"
KEY_DURATION: Final = "duration_s"
KEY_REASON: Final = "reason"
KEY_DETAIL: Final = "detail"
KEY_ERROR_TYPE: Final = "error_type"
KEY_METHOD: Final = "http_method"
KEY_ROUTE: Final = "http_route"
KEY_STATUS: Final = "http_status"
KEY_REQUEST_ID: Final = "request_id"
KEY_TRACE_ID: Final = "trace_id"
KEY_SPAN_ID: Final = "span_id"
KEY_COUNT: Final = "count"
KEY_PATH: Final = "path"
KEY_ERRORS: Final = "errors"
KEY_ERROR_COUNT: Final = "error_count"

LOG_KEYS: Final = tuple(value for name, value in dict(globals()).items() if name.startswith("KEY_"))
"""Every key that a log line of ours may have."""

# --- naming a task ----------------------------------------------------------------------------------------------

_OPTIONS: Final = "__afterword_task__"
_MAX_UNWRAP: Final = 20


class TaskOptions(NamedTuple):
    """What ``@task`` noted on a function."""

    name: str | None = None
    run_on_request_error: bool = False


_declared: dict[str, None] = {}


def declare(func: Callable[..., Any], options: TaskOptions) -> None:
    """Note options on a function; raises ``AttributeError`` or ``TypeError`` where it takes no attributes."""
    setattr(func, _OPTIONS, options)
    if len(_declared) < TASK_NAMES.limit:
        _declared[options.name or function_name(func)] = None


def declared() -> list[str]:
    """Return the names of the functions that were decorated with ``@task``: known before they are scheduled."""
    return [TASK_NAMES.admit(name) for name in list(_declared)]  # a thread may import more


def task_options(func: Any) -> TaskOptions:
    """Return what ``@task`` noted on a function or on anything it wraps; never raises."""
    for layer in _layers(func):
        try:
            options = getattr(layer, _OPTIONS, None)
        except EXITS:
            raise
        except BaseException:  # noqa: BLE001, S112  a proxy may raise anything
            continue
        if isinstance(options, TaskOptions):
            return options
    return TaskOptions()


def function_name(func: Any) -> str:
    """Return ``module.qualname`` of what will really run; never raises.

    ``functools.partial`` and ``functools.wraps`` are looked through, a bound method is named by its object's
    class, a callable object by its class.
    """
    innermost = func
    for innermost in _layers(func):  # noqa: B007  the last one counts
        pass
    try:
        return clean_name(_describe(innermost))
    except EXITS:
        raise
    except BaseException:  # noqa: BLE001  whatever the object does when it is asked for its name
        return _type_name(innermost)


def identify(func: Any) -> tuple[str, str]:
    """Return a task's label (``@task(name=...)`` or its function's name, bounded in number) and its function."""
    if type(func) is FunctionType and not func.__dict__ and type(func.__module__) is str:
        # nothing is noted on it, and it wraps nothing
        function = f"{func.__module__}.{func.__qualname__}"
        if function.isascii() and len(function) <= MAX_NAME and not foreign.is_wrapper(func.__qualname__):
            return TASK_NAMES.admit(function), function
    function = function_name(func)
    name = TASK_NAMES.admit(task_options(func).name or function)
    with contained():
        foreign.warn_of_queue(func.func if isinstance(func, functools.partial) else func, name)
    return name, function


def task_name(func: Any) -> str:
    """Return the label of a task."""
    return identify(func)[0]


def unwrap(func: Any) -> Any:
    """Return the innermost function under ``partial`` and ``wraps``."""
    innermost = func
    for innermost in _layers(func):  # noqa: B007
        pass
    return innermost


def _layers(func: Any) -> list[Any]:
    """Return the callable and what it wraps, outermost first; bounded, since a proxy may return itself."""
    layers = [func]
    while len(layers) <= _MAX_UNWRAP:
        try:
            inner = func.func if isinstance(func, functools.partial) else _wrapped(func)
        except EXITS:
            raise
        except BaseException:  # noqa: BLE001
            break
        if inner is None or not callable(inner) or any(inner is layer for layer in layers):
            break
        layers.append(inner)
        func = inner
    return layers


def _wrapped(func: Any) -> Any:
    inner = foreign.wrapped_by(func)
    return inner if inner is not None else getattr(func, "__wrapped__", None)


def _describe(func: Any) -> str:
    owner = getattr(func, "__self__", None)
    if owner is not None and hasattr(func, "__func__"):
        cls = owner if isinstance(owner, type) else type(owner)
        return f"{_type_name(cls)}.{_text(func.__name__)}"
    if isinstance(func, type):
        return _type_name(func)
    qualname = getattr(func, "__qualname__", None)
    if not isinstance(qualname, str):
        return _type_name(type(func))
    module = getattr(func, "__module__", None)
    return f"{_text(module)}.{qualname}" if isinstance(module, str) else qualname


def _type_name(cls: Any) -> str:
    cls = cls if isinstance(cls, type) else type(cls)
    # type's own descriptors, so that a metaclass cannot interfere
    module, qualname = (type.__dict__[name].__get__(cls) for name in ("__module__", "__qualname__"))
    return clean_name(f"{module}.{qualname}" if isinstance(module, str) else str(qualname))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a name")
    return value
