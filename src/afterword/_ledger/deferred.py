"""The lives of the user's task objects: which run belongs to which object, and what its death means.

Nothing is written on a task: a weak reference beside it knows its run, so copies and pickles of a task are what
they would be without us. A dying task may be collected at any moment, in any thread, even in the middle of a
metrics lock; its callback therefore only puts it on a ``SimpleQueue``, which is re-entrant by contract. The queue
is drained where nothing is locked: at a task's end, a request's end, a scrape, within a second, at shutdown.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .._common import forks
from .._common.faults import EXITS, log_fault

if TYPE_CHECKING:
    from starlette.background import BackgroundTask, BackgroundTasks

    from .._common.model import TaskRun
    from .._starlette.state import RequestScope
    from .._starlette.unstarted import Doom, Failure

_SWEEP_SECONDS = 1.0


class BatchRecord(weakref.ref["BackgroundTasks"]):
    """What is known of one ``BackgroundTasks``, while it or one of its tasks lives."""

    __slots__ = ("__dict__", "called", "finished", "injected", "key", "scope")

    key: int
    scope: RequestScope
    injected: bool
    """FastAPI made it for a parameter of the endpoint or of a dependency."""
    called: bool
    finished: bool
    failed: TaskRun | None = None
    """The member that failed or was cancelled, where the batch runs its members in its own way."""


class TaskRecord(weakref.ref["BackgroundTask"]):
    """What is known of one ``BackgroundTask``: its birthplace and its latest run."""

    # What few tasks ever know stands here, on the class, and has a dictionary made for it when it is written.
    __slots__ = ("__dict__", "batch", "key", "run", "scope")

    key: int
    scope: RequestScope
    run: TaskRun | None
    batch: BatchRecord | None
    doom: Failure | Doom | None = None
    """The error that reached the exception middleware before the task could start."""
    quiet = False
    """A failure alert: its own failure raises no alert."""
    unsent = False
    """It hung on an error response; if it never ran, that response was never sent."""

    @classmethod
    def of(cls, task: BackgroundTask, scope: RequestScope, batch: BatchRecord | None) -> TaskRecord:
        """Make a record that nobody will find again: for one call of a task that was born out of sight."""
        record = cls(task, _task_died)
        record.key = id(task)
        record.scope = scope
        record.run = None
        record.batch = batch
        return record


_tasks: dict[int, TaskRecord] = {}
_batches: dict[int, BatchRecord] = {}
_deferred: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
_woken: queue.SimpleQueue[None] = queue.SimpleQueue()

none_died = _deferred.empty
"""Return whether there is nothing to drain."""


def remember_task(task: BackgroundTask, scope: RequestScope, batch: BatchRecord | None) -> TaskRecord:
    """Start a record of a task, to be found again for as long as the task lives."""
    record = _tasks[id(task)] = TaskRecord.of(task, scope, batch)
    return record


def recall_task(task: Any) -> TaskRecord | None:
    """Return the record of a task, if it was born in sight."""
    record = _tasks.get(id(task))
    return record if record is not None and record() is task else None


def remember_batch(batch: BackgroundTasks, scope: RequestScope, *, injected: bool) -> BatchRecord:
    """Start a record of a batch."""
    record = BatchRecord(batch, _batch_died)
    record.key = id(batch)
    record.scope = scope
    record.injected = injected
    record.called = record.finished = False
    _batches[record.key] = record
    return record


def recall_batch(batch: Any) -> BatchRecord | None:
    """Return the record of a batch, if it was born in sight."""
    record = _batches.get(id(batch))
    return record if record is not None and record() is batch else None


def _task_died(record: Any) -> None:  # typeshed's callback takes the base class
    key: int = record.key
    if _tasks.get(key) is record:
        _tasks.pop(key, None)
    if record.run is not None and record.run.outcome is None:
        defer(_bury, record)


def _batch_died(record: Any) -> None:
    key: int = record.key
    if _batches.get(key) is record:
        _batches.pop(key, None)


def _bury(record: TaskRecord) -> None:
    record.scope.task_died(record)


def defer(action: Callable[..., Any], *args: Any) -> None:
    """Leave an action for the next drain; safe in a destructor and while a coroutine is torn down."""
    _deferred.put((action, args))
    _woken.put(None)


def drain() -> None:
    """Do what destructors and torn-down coroutines have left; call it where nothing is locked.

    In a context of its own: whoever drains is seldom the request that the dead belonged to.
    """
    while not _deferred.empty():
        try:
            action, args = _deferred.get_nowait()
        except queue.Empty:  # another thread took it
            return
        try:
            Context().run(action, *args)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            log_fault("settling a destroyed task failed", fault)


class _Sweeper:
    """A thread that drains within a second of a death, so that an idle application reports what it gave up.

    It sleeps until something dies, and begins with the first run of a process: a server that forks its workers
    forks no thread of ours.
    """

    def __init__(self) -> None:
        self.started = False

    def start(self) -> None:
        """Make sure that the thread is there."""
        if not self.started:
            self.started = True
            # after the SDK's providers were made, so before they shut down
            atexit.register(drain)
            threading.Thread(target=self._sweep, name="afterword-sweeper", daemon=True).start()

    @staticmethod
    def _sweep() -> None:
        while True:
            _woken.get()
            time.sleep(_SWEEP_SECONDS)  # whoever ends a request or a task meanwhile has drained already
            while not _woken.empty():
                _woken.get()
            try:
                drain()
            except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
                log_fault("settling a destroyed task failed", fault)


sweeper = _Sweeper()


def _forget() -> None:
    """Leave the parent's dead to it, in a forked child; its thread, too: the child begins one in need."""
    sweeper.started = False
    for left in (_deferred, _woken):
        while not left.empty():
            forks.leave_to_parent(left.get_nowait())


forks.in_child(_forget)
