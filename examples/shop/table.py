"""Shows the account as a table: one line for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich import box
from rich.console import Console
from rich.table import Table

from .account import OUTCOMES, Account, Histogram

_WIDE = 116
_ROOMY = 130
PREFIX = "examples.shop.tasks."
_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow"}
_LOST = "magenta"
_LEGEND = (
    "skipped: a task before it failed or was cancelled; dropped: its request failed; "
    "abandoned: nothing would ever have called it"
)
_HEADINGS = {
    "succeeded": "suc-\nceeded",
    "cancelled": "can-\ncelled",
    "skipped": "skip-\nped",
    "dropped": "drop-\nped",
    "abandoned": "aban-\ndoned",
}

Column = tuple[str, Callable[[Account], str]]


def show(console: Console, accounts: Iterable[Account]) -> None:
    """Print the account: one table where the terminal is wide enough, else two."""
    accounts = list(accounts)
    counts: list[Column] = [
        ("sched-\nuled", lambda a: str(a.scheduled)),
        *((_HEADINGS.get(outcome, outcome), _outcome(outcome)) for outcome in OUTCOMES),
        ("in\nflight", lambda a: _number(a.in_flight)),
        ("law\nholds", lambda a: "[green]yes[/]" if a.balanced else "[bold red]NO[/]"),
    ]
    times: list[Column] = [
        ("wait, ms\np50 / p95", lambda a: _quantiles(a.wait)),
        ("thread wait\np50 / p95", lambda a: _quantiles(a.thread_wait)),
        ("duration\np50 / p95", lambda a: _quantiles(a.duration)),
    ]
    title = "The account of every background task"
    if console.width >= _WIDE:
        console.print(_table(console, title, [*counts[:-1], *times, counts[-1]], accounts))
    else:
        console.print(_table(console, title, counts, accounts))
        console.print(_table(console, "Times", times, accounts))
    console.print(f"[dim]{_LEGEND}[/]\n", highlight=False)


def _table(console: Console, title: str, columns: list[Column], accounts: list[Account]) -> Table:
    gap = 1 if console.width >= _ROOMY else 0
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0))
    table.add_column("task", no_wrap=True)
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for account in accounts:
        table.add_row(account.name.removeprefix(PREFIX), *(cell(account) for _, cell in columns))
    return table


def _number(value: int, colour: str = "default") -> str:
    return f"[{colour}]{value}[/]" if value else "[dim]·[/]"


def _outcome(outcome: str) -> Callable[[Account], str]:
    return lambda account: _number(account.ended[outcome], _COLOURS.get(outcome, _LOST))


def _quantiles(histogram: Histogram) -> str:
    p50, p95 = histogram.quantile(0.5), histogram.quantile(0.95)
    return "[dim]·[/]" if p50 is None or p95 is None else f"{p50 * 1000:.0f} / {p95 * 1000:.0f}"
