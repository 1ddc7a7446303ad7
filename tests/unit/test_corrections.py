"""The files of a dead worker are made to agree with its journal: once, in one step, whatever it was doing."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.multiprocess import MultiProcessCollector

from afterword._common import semconv
from afterword._common.model import CELERY, STARLETTE
from afterword._ledger.journal import layout
from afterword._ledger.journal.records import Record
from afterword._ledger.journal.recovery import DeadProcess
from afterword._signals.multiprocess import dead_processes
from afterword._signals.multiprocess.shared_file import (
    COUNTER,
    LIVE_MAX,
    LIVE_SUM,
    TOTAL,
    file_of,
    journal_mark_of,
    key_of,
    write_at_once,
)

NAME = "mail"


@pytest.fixture
def pid() -> int:
    """Return the pid of a process that is dead."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def key(metric: semconv.Metric, *more: str) -> str:
    """Return the key of one of the task's counters."""
    return key_of(metric, TOTAL, metric.labels, (NAME, *more, STARLETTE))


def leave(path: Path, pid: int, scheduled: float, succeeded: float, **more: float) -> None:
    """Write the files of a worker; as many have started as have succeeded, unless ``more`` says it."""
    counted = {
        key(semconv.SCHEDULED): scheduled,
        key(semconv.STARTED): more.get("started", succeeded),
        key(semconv.ENDED, "succeeded"): succeeded,
        key(semconv.ENDED, "failed"): more.get("failed", 0.0),
        key(semconv.FAILURES, "ValueError"): more.get("failures", more.get("failed", 0.0)),
    }
    write_at_once(str(path / file_of(COUNTER, pid)), counted)
    (path / journal_mark_of(pid)).touch()
    now = {
        LIVE_SUM: {key_of(semconv.PENDING, "", semconv.PENDING.labels, (NAME, STARLETTE)): scheduled - succeeded},
        LIVE_MAX: {
            key_of(semconv.OLDEST_AGE, "", semconv.OLDEST_AGE.labels, (semconv.STATE_PENDING, STARLETTE)): 0.0
        },
    }
    for kind, gauges in now.items():
        write_at_once(str(path / file_of(kind, pid)), gauges)


def record(outcome: str, **more: Any) -> Record:
    """Return a run that ended so."""
    known = {"task": NAME, "scheduled_at": 1.0, "process": "", "ended_at": 2.0, "outcome": outcome}
    return Record(run=os.urandom(16).hex(), **(known | more))


def dead(pid: int, lost: int = 0, recovered: tuple[str, ...] = (), **more: bool) -> DeadProcess:
    """Return what the journal says of a dead worker."""
    return DeadProcess(
        process=layout.new_id(),
        pid=pid,
        off=more.get("off", False),
        lost=[record("lost") for _ in range(lost)],
        recovered=[record(outcome, error_type="KeyError") for outcome in recovered],
    )


def numbers(path: Path) -> dict[str, float]:
    """Return what a scrape adds up."""
    files = [str(path / file) for file in os.listdir(path) if file.endswith(".db")]
    found: Counter[str] = Counter()
    for metric in MultiProcessCollector.merge(files):
        if metric.name == semconv.NEVER_RAN.prometheus:
            continue
        for sample in metric.samples:
            name = sample.name.removeprefix("background_task_").removesuffix("_total")
            labels = "background_task_outcome", "background_task_reason", "error_type"
            kind = next((sample.labels[label] for label in labels if label in sample.labels), None)
            found[kind or name] += sample.value
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize(
    ("scheduled", "succeeded", "lost", "recovered", "expected"),
    [
        (5, 3, 2, (), {"scheduled": 5, "started": 3, "succeeded": 3, "lost": 2}),
        # killed after a run was written down, before it was counted
        (4, 3, 2, (), {"scheduled": 5, "started": 3, "succeeded": 3, "lost": 2}),
        # killed after its end was written, before that was counted
        (5, 3, 1, ("cancelled",), {"scheduled": 5, "started": 4, "succeeded": 3, "cancelled": 1, "lost": 1}),
        (5, 3, 1, ("dropped",), {"scheduled": 5, "started": 3, "succeeded": 3, "dropped": 1, "lost": 1}),
        # killed after its end was counted, before that was noted
        (5, 4, 1, ("succeeded",), {"scheduled": 5, "started": 4, "succeeded": 4, "lost": 1}),
        # of a part of the application that keeps no journal
        (5, 3, 0, (), {"scheduled": 5, "started": 3, "succeeded": 3, "lost": 2}),
        (5, 5, 0, (), {"scheduled": 5, "started": 5, "succeeded": 5}),
    ],
)
def test_the_numbers_agree_with_the_journal(
    scheduled: float,
    succeeded: float,
    lost: int,
    recovered: tuple[str, ...],
    expected: dict[str, float],
    pid: int,
    tmp_path: Path,
):
    """Whatever was counted when it was killed: what it lost is as many as are named, and the law holds."""
    leave(tmp_path, pid, scheduled, succeeded)
    found = dead(pid, lost, recovered)
    dead_processes.close_as_journaled(str(tmp_path), found)
    assert numbers(tmp_path) == expected
    dead_processes.close_as_journaled(str(tmp_path), found)
    assert numbers(tmp_path) == expected
    assert not (tmp_path / journal_mark_of(pid)).exists()


def never_ran(path: Path) -> dict[tuple[str, ...], float]:
    """Return what never ran, by its outcome, its reason, what stopped it, its route and status."""
    files = [str(path / file) for file in os.listdir(path) if file.endswith(".db")]
    labels = semconv.NEVER_RAN.labels[1:-1]
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for metric in MultiProcessCollector.merge(files)
        if metric.name == semconv.NEVER_RAN.prometheus
        for sample in metric.samples
    }


@pytest.mark.parametrize("counted", [None, "by its reason", "as ended, too"])
def test_what_never_ran_is_told_by_its_reason(counted: str | None, pid: int, tmp_path: Path):
    """Killed while it counted what it had dropped or skipped: each is counted by its reason once."""
    skipped = "skipped", "earlier_task_failed", "charge", "/orders", ""
    found = dead(pid)
    why = {"reason": "earlier_task_failed", "stopped_by": "charge", "route": "/orders"}
    found.recovered.append(record("skipped", **why))
    leave(tmp_path, pid, 4, 3)
    if counted is not None:
        values = {key(semconv.SCHEDULED): 4.0, key(semconv.STARTED): 3.0, key(semconv.ENDED, "succeeded"): 3.0}
        values[key(semconv.NEVER_RAN, *skipped)] = 1.0
        if counted == "as ended, too":
            values[key(semconv.ENDED, "skipped")] = 1.0
        write_at_once(str(tmp_path / file_of(COUNTER, pid)), values)
    for _ in range(2):
        dead_processes.close_as_journaled(str(tmp_path), found)
        assert never_ran(tmp_path) == {skipped: 1.0}
        assert numbers(tmp_path) == {"scheduled": 4, "started": 3, "succeeded": 3, "skipped": 1}


@pytest.mark.parametrize(
    ("counted", "states", "recovered", "started", "failures"),
    [
        # killed while it ran, before its start was counted, and after that
        ({"started": 3}, ["running"], [], 4, {}),
        ({"started": 4}, ["running"], [], 4, {}),
        ({"started": 3}, ["pending"], [], 3, {}),
        # killed after its failure was written, before that was counted in both places, or in the second
        ({"started": 4}, [], ["KeyError"], 4, {"KeyError": 1}),
        ({"started": 4, "failed": 1, "failures": 0}, [], ["KeyError"], 4, {"KeyError": 1}),
        ({"started": 4, "failed": 1}, [], ["ValueError"], 4, {"ValueError": 1}),
        ({"started": 5, "failed": 1}, [], ["ValueError", "KeyError"], 5, {"ValueError": 1, "KeyError": 1}),
    ],
)
def test_starts_and_failures_agree_with_the_journal(
    counted: dict[str, float],
    states: list[str],
    recovered: list[str],
    started: int,
    failures: dict[str, int],
    pid: int,
    tmp_path: Path,
):
    """As many have started as ran and ended or were lost while they ran; each failure is counted by its error."""
    leave(tmp_path, pid, 3 + len(states) + len(recovered), 3, **counted)
    found = dead(pid)
    found.lost.extend(record("lost", state=state) for state in states)
    found.recovered.extend(
        record("failed", error_type=error, ended_at=2.0 + n) for n, error in enumerate(recovered)
    )
    for _ in range(2):
        dead_processes.close_as_journaled(str(tmp_path), found)
        told = numbers(tmp_path)
        assert told["started"] == started
        assert {kind: told[kind] for kind in ("ValueError", "KeyError") if kind in told} == failures
        assert told.get("failed", 0) == sum(failures.values())


def leave_worker(path: Path, pid: int, **counted: int) -> None:
    """Write the counters of a worker of a queue: ``started``, outcomes, reasons of what was returned."""
    values = {}
    for name, number in counted.items():
        metric = {"started": semconv.STARTED, "ValueError": semconv.FAILURES}.get(name, semconv.ENDED)
        metric = semconv.RETURNED if name in ("retry", "worker_lost") else metric
        more = () if name == "started" else (name,)
        values[key_of(metric, TOTAL, metric.labels, (NAME, *more, CELERY))] = float(number)
    write_at_once(str(path / file_of(COUNTER, pid)), values)


def of_queue(outcome: str, **more: Any) -> Record:
    """Return what a worker of a queue has left of an attempt that began."""
    known = {"engine": CELERY, "started_at": 1.5, "error_type": "ValueError" if outcome == "failed" else None}
    return record(outcome, **(known | more))


@pytest.mark.parametrize(
    ("counted", "left", "added"),
    [
        # killed while they ran: one is lost, the message of another comes again
        (
            {"started": 7, "succeeded": 4, "retry": 1},
            {"lost": 1, "interrupted": 1},
            {"lost": 1, "worker_lost": 1},
        ),
        # killed after an end was written, before that was counted; and after it was counted, before that was noted
        ({"started": 3, "succeeded": 2}, {"recovered": ("succeeded",)}, {"succeeded": 1}),
        ({"started": 3, "succeeded": 3}, {"recovered": ("succeeded",)}, {}),
        ({"started": 3, "succeeded": 2}, {"recovered": ("failed",)}, {"failed": 1, "ValueError": 1}),
        ({"started": 3, "succeeded": 2, "failed": 1}, {"recovered": ("failed",)}, {"ValueError": 1}),
        ({"started": 3, "succeeded": 2}, {"returned": ("retry",)}, {"retry": 1}),
        ({"started": 3, "succeeded": 2, "retry": 1}, {"returned": ("retry",)}, {}),
        # killed after it was noted that one began, before that was counted
        ({"started": 2, "succeeded": 2}, {"lost": 1}, {"started": 1, "lost": 1}),
        ({"started": 2, "succeeded": 2}, {"interrupted": 1}, {"started": 1, "worker_lost": 1}),
        # what never began has no part in that law
        ({"started": 3, "succeeded": 3}, {"recovered": ("dropped",)}, {}),
        # and what nobody knows of is nobody's: its journal began later
        ({"started": 3, "succeeded": 2}, {}, {}),
    ],
)
def test_the_numbers_of_a_queues_worker_agree_with_its_journal(
    counted: dict[str, int], left: dict[str, Any], added: dict[str, int], pid: int, tmp_path: Path
):
    """In a dead worker, too: started = succeeded + failed + cancelled + returned + lost, each counted once."""
    leave_worker(tmp_path, pid, **counted)
    found = dead(pid)
    found.lost.extend(of_queue("lost") for _ in range(left.get("lost", 0)))
    found.interrupted.extend(of_queue("returned", reason="worker_lost") for _ in range(left.get("interrupted", 0)))
    found.returned.extend(of_queue("returned", reason=reason) for reason in left.get("returned", ()))
    found.recovered.extend(
        of_queue(outcome, started_at=None if outcome == "dropped" else 1.5)
        for outcome in left.get("recovered", ())
    )
    for _ in range(2):
        dead_processes.close_as_journaled(str(tmp_path), found)
        assert numbers(tmp_path) == Counter(counted) + Counter(added)


def test_what_a_queue_lost_with_a_pid_that_lives_again(tmp_path: Path):
    """Where a new worker has the pid of the dead one, as in a container, what is lost is counted, once."""
    leave_worker(tmp_path, os.getpid(), started=4, succeeded=2)
    found = dead(os.getpid())
    found.lost.append(of_queue("lost"))
    for _ in range(2):
        dead_processes.close_as_journaled(str(tmp_path), found)
        assert numbers(tmp_path) == {"started": 4, "succeeded": 2, "lost": 1}


def test_files_that_were_cleared(pid: int, tmp_path: Path):
    """Where a new server has cleared the directory, what was lost is counted as scheduled, too."""
    dead_processes.close_as_journaled(str(tmp_path), dead(pid, 3))
    assert numbers(tmp_path) == {"scheduled": 3, "lost": 3}


def test_an_account_that_another_has_closed(pid: int, tmp_path: Path):
    """If somebody who knows no journal was first, nothing is counted twice."""
    leave(tmp_path, pid, 5, 3)
    assert dead_processes.close_dead_accounts(str(tmp_path), os.listdir(tmp_path))
    dead_processes.close_as_journaled(str(tmp_path), dead(pid, 1, ("failed",)))
    told = {"scheduled": 5, "started": 4, "succeeded": 3, "failed": 1, "KeyError": 1, "lost": 1}
    assert numbers(tmp_path) == told


def test_the_account_of_a_living_process_is_left_alone(tmp_path: Path):
    """A new process with the pid of the dead one has closed that account, and counts in its file."""
    leave(tmp_path, os.getpid(), 5, 3)
    before = sorted(os.listdir(tmp_path))
    dead_processes.close_as_journaled(str(tmp_path), dead(os.getpid(), 7))
    assert sorted(os.listdir(tmp_path)) == before


def test_a_second_process_with_that_pid(pid: int, tmp_path: Path):
    """Whoever dies with a pid that was used before has its own corrections."""
    leave(tmp_path, pid, 5, 3)
    dead_processes.close_as_journaled(str(tmp_path), dead(pid, 2))
    leave(tmp_path, pid, 9, 4)  # it went on counting in the file
    dead_processes.close_as_journaled(str(tmp_path), dead(pid, 3))
    assert numbers(tmp_path) == {"scheduled": 9, "started": 4, "succeeded": 4, "lost": 5}


def test_a_journal_that_was_off_says_nothing(pid: int, tmp_path: Path):
    """Without a journal, what is lost is what was scheduled and has not ended."""
    leave(tmp_path, pid, 5, 3)
    dead_processes.close_as_journaled(str(tmp_path), dead(pid, off=True))
    assert numbers(tmp_path) == {"scheduled": 5, "started": 3, "succeeded": 3, "lost": 2}


def test_who_knows_no_journal_leaves_the_account_to_others(pid: int, tmp_path: Path):
    """Gunicorn's hook closes no account that a journal closes; a scrape closes it if no journal does."""
    leave(tmp_path, pid, 5, 3)
    assert not dead_processes.close_account(str(tmp_path), pid)
    assert not dead_processes.close_dead_accounts(str(tmp_path), os.listdir(tmp_path), {pid})
    assert numbers(tmp_path)["pending"] == 2
    assert dead_processes.close_dead_accounts(str(tmp_path), os.listdir(tmp_path))
    assert numbers(tmp_path) == {"scheduled": 5, "started": 3, "succeeded": 3, "lost": 2}


def test_one_whose_end_nobody_has_asked_for_is_dead():
    """A zombie does not live, though a signal can be sent to it."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        end = time.monotonic() + 10
        while dead_processes.is_alive(child) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(child, 0)
        assert not dead_processes.is_alive(child)
    finally:
        os.waitpid(child, 0)
