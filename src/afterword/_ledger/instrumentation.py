"""The settings of one instrumented application, and the ledger that keeps its account."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol, TypeAlias, TypeVar, TypeVarTuple

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

from .._common import forks, semconv
from .._common.errors.withheld import withhold
from .._common.faults import EXITS
from .._common.model import Outcome, TaskRun
from .._common.observer import TaskObserver
from .journal.journal import Journal
from .runs import Ledger

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
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    registry: CollectorRegistry | None = None
    metrics_path: str | None = None
    on_request_error: tuple[Callable[..., object], ...] = ()
    on_task_failure: tuple[TaskFailureCallback, ...] = ()
    observers: tuple[TaskObserver, ...] = ()
    new_trace: bool = False
    journal: str | None = None
    console: str | None = None
    console_dependencies: tuple[Any, ...] = ()
    path_given: bool = False
    """``metrics_path`` was passed explicitly, so it is an error if the path is taken."""
    exception_messages: bool = True
    """Whether signals, journal and pages may have the texts of exceptions."""
    response_duration: bool = False
    """Whether the time of each answer is a metric."""
    metrics_port: int | None = None
    """Where a Celery worker's main process serves its metrics."""


class MetricsRoute(Protocol):
    """The route that Prometheus scrapes."""

    path: str

    def gives_way(self, scope: MutableMapping[str, Any]) -> bool:
        """Return whether a user's route answers a request in its place."""
        ...


class Console(Protocol):
    """The pages that show what became of the tasks."""

    path: str

    def start_up(self, root_path: str) -> None:
        """Say where it is, when the server starts; ``root_path`` is what comes before every path."""
        ...


class ShutdownTeller(Protocol):
    """Who tells of a process that is told to end."""

    def waiting(self, runs: Sequence[TaskRun]) -> None:
        """Tell which runs have not ended, when the end begins."""
        ...

    def ended(self, seconds: float, ends: Mapping[tuple[Outcome, str], int], left: Sequence[TaskRun]) -> None:
        """Tell how many runs ended since then, by outcome and task, and which are left, when it is over."""
        ...


Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

LateObserver = tuple[TaskObserver, Callable[[], bool]]
"""An observer, and whether it is time for it to join."""

ATTRIBUTE: Final = "_afterword_account"
"""Where an application keeps its instrumentation."""

_ASK_SECONDS = 1.0


class Instrumentation:
    """One application's instrumentation. The application refers to it, so both are collected together."""

    __slots__ = (
        *(
            "__weakref__",
            "asks_at",
            "asks_broker",
            "closed",
            "console",
            "doubles",
            "journal",
            "late",
            "ledger",
            "on_loop",
            "on_shutdown",
            "route",
            "settings",
            "stack",
            "timed",
        ),
        "traces_requests",
    )

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        if not settings.exception_messages:
            withhold(self)
        self.ledger = ledger
        self.closed = False
        """Set by ``uninstrument``: no new runs are opened; open ones are still accounted for."""
        self.route: MetricsRoute | None = None
        """Our ``/metrics`` route, if there is one."""
        self.console: Console | None = None
        """Our console, if there is one."""
        self.on_loop: Callable[[Instrumentation], None] | None = None
        """To be called on each event loop that serves the application."""
        self.on_shutdown: ShutdownTeller | None = None
        """Who tells what a shutdown waits for, and what it has cut off."""
        self.doubles: dict[int, tuple[Any, ...]] = {}
        """Copies of exception middleware, by the identity of the original. They refer to the application, so
        they are kept here and collected with it."""
        self.stack: tuple[Any, Any] | None = None
        """The middleware of the application, and what the engine has found in it."""
        self.late: LateObserver | None = None
        """An observer that is told of nothing until it has somebody to tell."""
        self.asks_at = 0.0
        self.timed: Callable[..., Any] | None = None
        """Watches an answer, given its request and what sends it, where the time of each answer is a metric."""
        self.journal: Journal | None = None
        """Where its runs are written down, if they are."""
        self.asks_broker: Callable[[str, float], bool | None] | None = None
        """Asks a queue's broker whether it has a message still, by its tag and until when that can be said."""
        self.traces_requests = False
        """We called OpenTelemetry contrib, and must take it out again."""
        with _lock:
            _instrumentations.add(self)
            ledger.set_observers([*ledger.observers, *_watchers])

    def let_join(self) -> None:
        """Let the late observer join, if it is time. Ask again after ``asks_at``: the question is not free."""
        self.asks_at = monotonic() + _ASK_SECONDS
        late = self.late
        if late is not None and late[1]():
            with _lock:
                if self.late is late:  # else: another thread let it join meanwhile
                    self.late = None
                    self.ledger.set_observers([*self.ledger.observers, late[0]])

    def failsafe(self, what: str, action: Callable[[*Arguments], Result], *args: *Arguments) -> Result | None:
        """Call our own code. An error in it is counted, logged once, and never reaches the application."""
        try:
            return action(*args)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self.record_fault(what, fault)
            return None

    def record_fault(self, what: str, fault: BaseException) -> None:
        """Count an error of our own code, and log it the first time."""
        self.ledger.record_internal_error(semconv.SCOPE, what, fault)


class Consoles:
    """Where this process has consoles."""

    def __init__(self) -> None:
        self.paths: tuple[str, ...] = ()

    def add(self, path: str) -> None:
        """Remember a path, for who looks for it in an address."""
        if path not in self.paths:
            self.paths = (*self.paths, path)


consoles: Final = Consoles()

_instrumentations: weakref.WeakSet[Instrumentation] = weakref.WeakSet()
_watchers: list[TaskObserver] = []
_lock = forks.lock()


def watch(watcher: TaskObserver) -> None:
    """Add an observer to all instrumented applications of this process, present and future."""
    with _lock:
        _watchers.append(watcher)
        for instrumentation in _instrumentations:
            instrumentation.ledger.set_observers([*instrumentation.ledger.observers, watcher])


def unwatch(watcher: TaskObserver) -> None:
    """Undo ``watch``."""
    with _lock:
        _watchers.remove(watcher)
        for instrumentation in _instrumentations:
            instrumentation.ledger.set_observers(
                [each for each in instrumentation.ledger.observers if each is not watcher]
            )


def get_instrumentation(app: object) -> Instrumentation | None:
    """Return the instrumentation of an application; ``None`` if it is not instrumented."""
    instrumentation: Instrumentation | None = app.__dict__.get(ATTRIBUTE)
    return instrumentation


def set_instrumentation(app: object, instrumentation: Instrumentation | None) -> None:
    """Attach an instrumentation to an application, or remove it with ``None``."""
    if instrumentation is None:
        app.__dict__.pop(ATTRIBUTE, None)
    else:
        app.__dict__[ATTRIBUTE] = instrumentation
