"""What one Celery application decided, and the two ledgers: one counts, one tells spans and lines."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from .._common.cardinality import TASK_NAMES
from .._common.faults import EXITS
from .._common.model import CELERY, RequestInfo, TaskRun
from .._common.observer import TaskObserver
from .._common.task_names import function_name
from .._common.text import clean_name
from .._ledger.instrumentation import ATTRIBUTE, Instrumentation, Settings
from .._ledger.queue import QueueLedger
from . import headers

_SYSTEMS: Final = {
    **{"rediss": "redis", "sentinel": "redis", "librabbitmq": "rabbitmq", "sqs": "aws_sqs"},
    **{"azureservicebus": "servicebus", "gcpubsub": "gcp_pubsub", "confluentkafka": "kafka"},
}
"""What OpenTelemetry calls a broker, by the scheme of its address."""


_NO_QUOTES: Final = str.maketrans("", "", '"\\\\')
"""An id is Celery's, or what a user chose; it has to fit into a line of JSON as it is."""
_USUAL_ID: Final = re.compile(r"[0-9a-f-]{32,36}")


class WatchesQueues(Protocol):
    """Looks into queues."""

    def note(self, queue: str) -> None:
        """Look into this queue from now on."""

    def stop(self) -> None:
        """Look no longer."""


class CeleryInstrumentation(Instrumentation):
    """One Celery application's instrumentation.

    Its ``ledger`` counts, in the process that publishes and in the worker's main process. Its ``teller`` has the
    spans and the lines, and is told in the process where a task runs.
    """

    __slots__ = ("_functions", "_system", "books", "current_request", "number", "teller", "watch")

    def __init__(
        self,
        settings: Settings,
        ledger: QueueLedger,
        tellers: Sequence[TaskObserver],
        current_request: Callable[[], RequestInfo | None],
    ) -> None:
        super().__init__(settings, ledger)
        self.books = ledger
        """The ledger that counts."""
        self.teller = QueueLedger(tellers, failed=ledger.record_internal_error)
        self.current_request = current_request
        """Returns the request that this code belongs to, if the process serves any."""
        self.number = 0
        """The identity of its application, which is the same in a forked child."""
        self.watch: WatchesQueues | None = None
        """Who looks into the queues that this process publishes to."""
        self._functions: dict[str, tuple[str, str]] = {}
        self._system: str | None = None

    def run_of(self, app: Any, name: Any, said: headers.Headers) -> TaskRun:
        """Return a new run, as its message says it."""
        if self.late is not None and monotonic() >= self.asks_at:
            self.let_join()
        name = name if isinstance(name, str) and name else "(no name)"
        known = self._functions.get(name)
        if known is None:
            known = TASK_NAMES.admit(name), _function(app, name)
            if known[0] == name:  # as many as there are names
                self._functions[name] = known
        ours = headers.said_of(said)
        run = TaskRun(known[0], known[1], headers.request_of(ours), 0, is_async=False)
        run.engine = CELERY
        task_id = said.get("id")
        run.id = _id(task_id) if isinstance(task_id, str) else ""
        run.attempt = headers.attempt_of(said)
        run._system = self.system(app)
        at = headers.published_at(ours)
        if at is not None:
            run.scheduled_at = at
        return run

    def system(self, app: Any) -> str:
        """Return what OpenTelemetry calls the broker."""
        if self._system is None:
            try:
                address = app.conf.broker_write_url or app.conf.broker_url or "amqp://"
                first = address[0] if isinstance(address, list | tuple) else str(address).split(";")[0]
                scheme = urlsplit(first).scheme.split("+")[0]
                scheme = scheme or (first if first.isidentifier() else "")  # "redis" alone is an address, too
            except EXITS:
                raise
            except BaseException:  # noqa: BLE001  an address that nobody can read
                scheme = ""
            self._system = _SYSTEMS.get(scheme, "rabbitmq" if "amqp" in scheme else scheme or "other")
        return self._system


def _id(text: str) -> str:
    if _USUAL_ID.fullmatch(text):
        return text
    return clean_name(text).translate(_NO_QUOTES)


def _function(app: Any, name: str) -> str:
    task = app._tasks.get(name) if hasattr(app._tasks, "get") else None
    return name if task is None else function_name(task.run)


_known: weakref.WeakValueDictionary[int, CeleryInstrumentation] = weakref.WeakValueDictionary()
"""By the identity of their application, which is the same in a forked child."""


def known_as(number: int) -> CeleryInstrumentation | None:
    """Return an instrumentation by the identity of its application."""
    return _known.get(number)


def all_open() -> list[CeleryInstrumentation]:
    """Return the instrumentations of this process that are open."""
    return [known for known in list(_known.values()) if not known.closed]


def remember(app: Any, instrumentation: CeleryInstrumentation) -> None:
    """Let an instrumentation be found by the identity of its application."""
    instrumentation.number = id(app)
    _known[id(app)] = instrumentation


def adopt(app: Any) -> None:
    """Let the copy of an application that a spawned child was sent be observed as the one that it has imported."""
    known = all_open()
    if len(known) == 1 and find(app) is None:
        app.__dict__[ATTRIBUTE] = known[0]


def find(app: Any) -> CeleryInstrumentation | None:
    """Return the open instrumentation of a Celery application; ``None`` if it has none."""
    found = getattr(app, "__dict__", {}).get(ATTRIBUTE)
    return found if isinstance(found, CeleryInstrumentation) and not found.closed else None
