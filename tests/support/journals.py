"""Journals without a server: runs that are moved along by hand, and what is told of the dead."""

from __future__ import annotations

import os
import secrets
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from afterword._common.model import CELERY, Outcome, Reason, RequestInfo, TaskRun, full_name
from afterword._common.observer import TaskObserver
from afterword._ledger.instrumentation import get_instrumentation
from afterword._ledger.journal import history, layout, lines
from afterword._ledger.journal.history import Filter
from afterword._ledger.journal.journal import Journal
from afterword._ledger.journal.locking import MACHINE
from afterword._ledger.journal.observers import with_journal
from afterword._ledger.journal.queue_observers import with_journal as with_queue_journal
from afterword._ledger.journal.records import Record
from afterword._ledger.journal.recovery import DeadProcess
from afterword._ledger.queue import QueueLedger
from afterword._ledger.runs import Ledger

TRACE, REQUEST_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PUBLISH_SPAN, WORKER = "00f067aa0ba902b7", "celery@shop-1"


class Heard:
    """A keeper that keeps what it is told."""

    has_left = False

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.dead: list[DeadProcess] = []
        self.faults = 0
        self.off = 0
        self.brokers: dict[str, bool | None] = {}
        """What the broker says of a message, by its run's id."""
        self.asked: list[tuple[str | None, float | None]] = []

    def still_has(self, record: Record) -> bool | None:
        self.asked.append((record.tag, record.visible_until))
        return self.brokers.get(record.run)

    def tell(self, record: Record) -> None:
        self.records.append(record)

    def count(self, dead: DeadProcess) -> None:
        self.dead.append(dead)

    def count_fault(self) -> None:
        self.faults += 1

    def went_off(self) -> None:
        self.off += 1

    @property
    def outcomes(self) -> dict[str, str | None]:
        return {record.run: record.outcome for record in self.records}


class Ids(TaskObserver):
    """Gives runs the ids of spans, as traces do."""

    def scheduled(self, run: TaskRun) -> None:
        run.trace_id, run.span_id, run.sampled = TRACE, REQUEST_SPAN, True

    def started(self, run: TaskRun) -> None:
        run.trace_id, run.span_id, run.sampled = TRACE, secrets.token_hex(8), True


def ledger_of(journal: Journal, *others: TaskObserver, traces: Sequence[TaskObserver] = ()) -> Ledger:
    """Return a ledger whose runs are kept in a journal."""
    return Ledger(with_journal(journal, traces, others))


def new_run(name: str = "mail", route: str = "/orders/{number}", request_id: str | None = "r-1") -> TaskRun:
    """Return a run of a request that nobody has scheduled yet."""
    return TaskRun(name, f"shop.{name}", RequestInfo("POST", route, request_id), 0, is_async=True)


def scheduled(ledger: Ledger, run: TaskRun | None = None) -> TaskRun:
    """Schedule a run."""
    run = run or new_run()
    ledger.schedule(run)
    return run


def started(ledger: Ledger, run: TaskRun | None = None) -> TaskRun:
    """Schedule and start a run."""
    run = scheduled(ledger, run)
    assert ledger.start(run)
    return run


def ended(ledger: Ledger, run: TaskRun | None = None, exc: BaseException | None = None) -> TaskRun:
    """Schedule, start and end a run, as a success unless there is an exception."""
    run = started(ledger, run)
    if exc is None:
        assert ledger.finish(run, Outcome.SUCCEEDED)
    else:
        assert ledger.finish(run, Outcome.FAILED, Reason.EXCEPTION, "it raised; see the traceback", exc)
    return run


def untold(ledger: Ledger) -> TaskRun:
    """Start a run and write its end, but not that it was told."""
    ledger.set_observers([seen for seen in ledger.observers if type(seen).__name__ != "Told"])
    return ended(ledger, exc=ValueError("no such mailbox"))


def give_up(ledger: Ledger, *runs: TaskRun) -> None:
    """End runs that a test has left in flight, so that they are not found by others."""
    for run in runs:
        ledger.finish(run, Outcome.CANCELLED) or ledger.end_unstarted(run, Outcome.ABANDONED, Reason.UNKNOWN, "")


def history_of(directory: Path, **wanted: object) -> list[Record]:
    """Return what has ended, newest first."""
    return list(history.ended(str(directory), Filter(**wanted)))  # type: ignore[arg-type]


def in_flight_of(directory: Path) -> list[Record]:
    """Return what is in flight, oldest first."""
    return history.in_flight(str(directory))


def find(app: Any) -> None:
    """Look for the dead, as an application does when it starts."""
    instrumentation = get_instrumentation(app)
    assert instrumentation is not None
    assert instrumentation.journal is not None
    instrumentation.journal.recover()


def head(**changes: object) -> layout.Head:
    """Return the head of a file of a process that is dead."""
    now = time.time()
    known = layout.Head(layout.new_id(), os.getpid(), now, now, counted=False, off=False, machine=MACHINE)
    return known._replace(**changes)


def write_live(directory: Path, slots: bytes = b"", **changes: object) -> str:
    """Write the file of a dead process; return its id."""
    made = head(**changes)
    (directory / layout.live_file(made.process)).write_bytes(made.packed().ljust(layout.HEAD_SIZE, b"\0") + slots)
    return made.process


def line_of(
    task: str = "mail",
    outcome: Outcome = Outcome.SUCCEEDED,
    *,
    at: float,
    waited: float = 1.0,
    ran: float | None = 2.0,
    request: RequestInfo | None = None,
    began: float | None = None,
    answered: float | None = None,
    thread_wait: float | None = None,
    reason: Reason | None = None,
    detail: str | None = None,
    exc: BaseException | None = None,
) -> bytes:
    """Return the line of a run that ended at a time after it waited and ran; ``ran=None``: it never did."""
    run = TaskRun(task, f"shop.{task}", request or RequestInfo("POST", "/orders/{number}"), 0, is_async=True)
    run.id = secrets.token_hex(16)
    run.ended_at, run.outcome, run.reason, run.detail = at, outcome, reason, detail
    run.scheduled_at = at - (ran or 0.0) - waited
    if ran is not None:
        run.started_at, run.duration, run.thread_wait = at - ran, ran, thread_wait
    if exc is not None:
        run.exception, run.error_type = exc, full_name(exc)
    elif reason is not None:
        run.error_type = reason
    assert run.request is not None
    run.request._began_at, run.request._answered_at = began, answered
    return lines.line(lines.first_part(run), run)


def queue_ledger_of(journal: Journal) -> QueueLedger:
    """Return a ledger of a queue's worker whose runs are kept in a journal."""
    return QueueLedger(with_queue_journal(journal, []))


def attempt_of(
    task: str = "statement", run_id: str | None = None, attempt: int = 1, *, late: bool = False
) -> TaskRun:
    """Return an attempt of Celery's, as a worker receives it; ``late``: its message is acknowledged late."""
    run = TaskRun(
        f"shop.{task}", f"shop.{task}", RequestInfo("POST", "/orders/{number}", "r-1"), 0, is_async=False
    )
    run.engine, run.id, run.attempt = CELERY, run_id or str(uuid.uuid4()), attempt
    run._worker, run._destination, run._comes_again = WORKER, "heavy", late
    run.scheduled_at = time.time()
    run.trace_id, run.span_id, run.sampled = TRACE, PUBLISH_SPAN, True
    return run


def write_ended(directory: Path, *written: bytes) -> str:
    """Write a file of a process that is dead, whose account is closed; return its id."""
    process = layout.new_id()
    directory.mkdir(exist_ok=True)
    (directory / layout.segment_file(process, 0)).write_bytes(b"".join(written))
    return process


def raised(text: str = "no mail server", kind: type[Exception] = ConnectionRefusedError) -> Exception:
    """Return an exception that was raised."""
    try:
        raise kind(text)
    except kind as exc:
        return exc
