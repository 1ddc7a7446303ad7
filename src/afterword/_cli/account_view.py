"""``afterword account``: the account as a table, a line for each task, and a verdict on the law."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any, Final

from .._common import semconv
from .._common.model import LOST, STARLETTE, STATE_PENDING, STATE_RUNNING, Outcome
from .._views.account import Account, Histogram
from . import formats
from .output import FAINT, STYLES, Cell, Column, Output
from .scrape import account_at, address

BROKEN: Final = 1
_WIDE: Final = 128
_FEWEST: Final = 10
_COLUMN: Final = 9
_QUEUED: Final = "in the queue"
_LEGEND: Final = (
    f"{Outcome.SKIPPED}: a task before it failed or was cancelled; {Outcome.DROPPED}: its request failed; "
    f"{Outcome.ABANDONED}: nothing would ever have called it"
)
_HEADINGS: Final = {
    Outcome.SUCCEEDED: "suc-\nceeded",
    Outcome.CANCELLED: "can-\ncelled",
    Outcome.SKIPPED: "skip-\nped",
    Outcome.DROPPED: "drop-\nped",
    Outcome.ABANDONED: "aban-\ndoned",
}

_Cells = Callable[[Account], Cell]


def run(output: Output, arguments: argparse.Namespace) -> int:
    """Answer; return the exit code. Raises ``Unreadable``."""
    url = address(arguments.url)
    accounts, wrong = account_at(url)
    if output.json:
        for account in accounts.values():
            output.keys(_keys(account, account not in wrong))
    elif accounts:
        show(output, accounts.values(), wrong)
    if not accounts:
        output.note(f"{url}: no background task has been scheduled yet")
    elif not output.json:
        verdict(output, accounts.values(), wrong, url)
    return BROKEN if wrong else 0


def show(output: Output, accounts: Collection[Account], wrong: Collection[Account], prefix: str = "") -> None:
    """Write the account: one table where the terminal is wide enough, else two. Names lose their prefix."""
    task = (Column(semconv.KEY_TASK), lambda one: formats.one_line(one.name.removeprefix(prefix)))
    law = (Column("law\nholds", right=True), lambda one: _holds(one, wrong))
    title = "The account of every background task"
    counts = _counts(accounts)
    wide = _WIDE + _COLUMN * (len(counts) - _FEWEST)
    if output.width is None or output.width >= wide:
        _table(output, [task, *counts, *_times(), law], accounts, title)
    else:
        _table(output, [task, *counts, law], accounts, title)
        _table(output, [task, *_times()], accounts, "Times")
    output.line((_LEGEND, FAINT))
    output.line()


def verdict(output: Output, accounts: Collection[Account], wrong: Collection[Account], url: str) -> None:
    """Write whether the law holds, and where it does not."""
    where = formats.one_line(url, 1000)
    whole = [account for account in accounts if account.is_whole]
    if not wrong:
        law = " + ".join([*_before(accounts), STATE_PENDING, STATE_RUNNING, "the six outcomes", LOST])
        tasks = "the one task" if len(whole) == 1 else f"all {len(whole)} tasks"
        if whole:
            output.line(("✓", "green"), f" The law holds for {tasks} on {where}: scheduled = {law}.")
        if len(whole) < len(accounts):
            output.line(f"For what Celery runs, it is one of the sum over all processes, of which {where} is one.")
        return
    output.line(("✗ The law is broken", "bold red"), f" for {len(wrong)} of {len(accounts)} tasks on {where}:")
    for account in wrong:
        accounted = account.in_flight + account.ended.total()
        queued = "" if account.queued is None else f"{account.queued} {_QUEUED}, "
        output.line(
            f"    {formats.one_line(account.name)}: {account.scheduled} scheduled, {queued}"
            f"{accounted} in flight or ended, {account.lost} {LOST}"
        )


def _table(
    output: Output, columns: list[tuple[Column, _Cells]], accounts: Collection[Account], title: str
) -> None:
    rows = [[cell(account) for _, cell in columns] for account in accounts]
    output.table([column for column, _ in columns], rows, title)


def _before(accounts: Collection[Account]) -> list[str]:
    """Return what may stand between scheduled and pending: the queue, where somebody has asked the broker."""
    return [_QUEUED] if any(account.queued is not None for account in accounts) else []


def _counts(accounts: Collection[Account]) -> list[tuple[Column, _Cells]]:
    queued = Column("in the\nqueue", right=True), lambda one: _number(one.queued or 0)
    returned = Column("re-\nturned", right=True), lambda one: _number(one.returned.total())
    return [
        (Column("sched-\nuled", right=True), lambda one: str(one.scheduled)),
        *([queued] if _before(accounts) else []),
        (Column("pend-\ning", right=True), lambda one: _number(one.pending)),
        (Column("run-\nning", right=True), lambda one: _number(one.running)),
        *((Column(_HEADINGS.get(outcome, outcome), right=True), _outcome(outcome)) for outcome in Outcome),
        (Column(LOST, right=True), lambda one: _number(one.lost, STYLES[LOST])),
        *([returned] if any(account.returned.total() for account in accounts) else []),
    ]


def _times() -> list[tuple[Column, _Cells]]:
    return [
        (Column("wait, ms\np50 / p95", right=True), lambda one: _quantiles(one.wait)),
        (Column("thread wait\np50 / p95", right=True), lambda one: _quantiles(one.thread_wait)),
        (Column("duration\np50 / p95", right=True), lambda one: _quantiles(one.duration)),
    ]


def _holds(account: Account, wrong: Collection[Account]) -> Cell:
    if not account.is_whole:
        return "·", FAINT
    return ("NO", "bold red") if account in wrong else ("yes", "green")


def _number(value: int, style: str = "") -> Cell:
    return (str(value), style) if value else ("·", FAINT)


def _outcome(outcome: Outcome) -> _Cells:
    return lambda account: _number(account.ended[outcome], STYLES[outcome])


def _quantiles(histogram: Histogram) -> Cell:
    p50, p95 = histogram.quantile(0.5), histogram.quantile(0.95)
    return ("·", FAINT) if p50 is None or p95 is None else f"{p50 * 1000:.0f} / {p95 * 1000:.0f}"


def _keys(account: Account, holds: bool) -> dict[str, Any]:
    times = {
        semconv.KEY_WAIT: account.wait,
        semconv.KEY_THREAD_WAIT: account.thread_wait,
        semconv.KEY_DURATION: account.duration,
    }
    return {
        semconv.KEY_TASK: account.name,
        "scheduled": account.scheduled,
        STATE_PENDING: account.pending,
        STATE_RUNNING: account.running,
        **{str(outcome): account.ended[outcome] for outcome in Outcome},
        LOST: account.lost,
        **({} if account.engine == STARLETTE else {"returned": account.returned.total()}),
        "law_holds": holds if account.is_whole else None,
        **{f"{name}_p{q}": histogram.quantile(q / 100) for name, histogram in times.items() for q in (50, 95)},
    }
