"""What is looked at besides the causes: does the account balance, is a run stuck, are worker threads short."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from .._common import semconv
from .._common.model import STARLETTE, STATE_RUNNING
from .._common.text import clean_name
from .._ledger.journal.records import Record
from .account import Account, Accounts, broken
from .quantiles import quantiles

GOOD: Final = "good"
BAD: Final = "bad"
UNKNOWN: Final = "unknown"

Threads = tuple[float, float, float]
"""The worker threads that are busy, those that there are at most, and the callers that wait for one."""

_TRIES, _PAUSE = 3, 0.05
_RUNNING_SECONDS: Final = 60.0
_PENDING_SECONDS: Final = 300.0
_WITHOUT_HISTORY_SECONDS: Final = 300.0
_TIMES: Final = 10
_ENOUGH: Final = 5
"""Runs of a task from which it can be told what is usual."""


def check(name: str, state: str, detail: str) -> dict[str, Any]:
    """Return what a check has found: ``good``, ``bad`` or ``unknown``, and a sentence about it."""
    return {"name": name, semconv.KEY_STATE: state, semconv.KEY_DETAIL: detail}


def account(read: Callable[[], Accounts | None] | None) -> dict[str, Any]:
    """Return whether the law holds for what the application publishes.

    A transition may be in progress, so what seems wrong is looked at again: only what stays wrong is. May block.
    """
    wrong: dict[str, Account] | None = None
    for attempt in range(_TRIES):
        try:
            accounts = None if read is None else read()
        except Exception as fault:  # noqa: BLE001  whatever the metrics' library raises
            return check("account", UNKNOWN, f"The metrics cannot be read: {type(fault).__name__}.")
        if accounts is None:
            return check("account", UNKNOWN, "The application publishes no metrics that it could be checked by.")
        unbalanced = {one.name: one for one in broken(accounts.values())}
        wrong = unbalanced if wrong is None else {name: unbalanced[name] for name in wrong if name in unbalanced}
        if not wrong:
            count = sum(one.scheduled for one in accounts.values() if one.engine == STARLETTE)
            good = f"Each of the {count:,} runs since the start of the metrics is in flight, has ended or is lost."
            return check("account", GOOD, good)
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE)
    name, one = next(iter((wrong or {}).items()))
    name = clean_name(name)
    more = f"; and {len(wrong) - 1} more tasks" if wrong and len(wrong) > 1 else ""
    known = one.in_flight + one.ended.total() + one.lost
    return check("account", BAD, f"{name}: {one.scheduled} scheduled, but {known} in flight, ended or lost{more}.")


class Usual:
    """How long the runs of some tasks have waited and run lately."""

    def __init__(self) -> None:
        self._waits: defaultdict[str, list[float]] = defaultdict(list)
        self._durations: defaultdict[str, list[float]] = defaultdict(list)
        self._limits: dict[tuple[str, str | None], tuple[float | None, float]] = {}

    def add(self, record: Record) -> None:
        """Add a run that has ended."""
        if record.started_at is not None:
            self._waits[record.task].append(max(0.0, record.started_at - record.scheduled_at))
        if record.duration is not None:
            self._durations[record.task].append(record.duration)

    def of(self, record: Record) -> tuple[float | None, float]:
        """Return what nearly all took for what a run in flight is doing, if that is known, and how long it may."""
        kind = record.task, record.state
        if kind not in self._limits:  # thousands of runs may be in flight
            self._limits[kind] = self._limit(*kind)
        return self._limits[kind]

    def _limit(self, task: str, state: str | None) -> tuple[float | None, float]:
        times, least = self._waits, _PENDING_SECONDS
        if state == STATE_RUNNING:
            times, least = self._durations, _RUNNING_SECONDS
        known = times.get(task, [])
        if len(known) < _ENOUGH:
            return None, _WITHOUT_HISTORY_SECONDS
        most = quantiles(known)["p95"]
        return most, max(least, _TIMES * most)


def stuck(in_flight: Iterable[Record], usual: Usual, now: float) -> dict[str, Any]:
    """Return whether a run of a living process runs, or waits, much longer than those of its task usually do."""
    ages = [(now - (one.started_at or one.scheduled_at), one) for one in in_flight]
    if not ages:
        return check("stuck", GOOD, "Nothing is in flight.")
    late = [(age, one) for age, one in ages if age > usual.of(one)[1]]
    age, oldest = max(late or ages, key=lambda each: each[0])
    most, _ = usual.of(oldest)
    takes = "take" if oldest.state == STATE_RUNNING else "start within"
    compared = "not many have lately" if most is None else f"95 % of its runs {takes} {_span(most)} at most"
    more = f"; and {len(late) - 1} more" if len(late) > 1 else ""
    told = f"{clean_name(oldest.task)} has been {oldest.state} for {_span(age)}; {compared}{more}."
    return check("stuck", BAD if late else GOOD, told)


def threads(read: Callable[[], Threads | None] | None) -> dict[str, Any]:
    """Return whether sync tasks and endpoints of this process wait for a worker thread."""
    found = None if read is None else read()
    if found is None or not found[1]:
        return check("threads", UNKNOWN, "No task has needed a worker thread in this process yet.")
    busy, limit, waiting = (int(number) for number in found)
    if waiting:
        what = "caller waits" if waiting == 1 else "callers wait"
        return check("threads", BAD, f"{waiting} {what} for one of {limit} worker threads, all of which are busy.")
    return check("threads", GOOD, f"{busy} of {limit} worker threads are busy.")


def _span(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
