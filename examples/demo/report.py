"""What the demo prints when the visits are over."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from afterword._cli import account_view
from afterword._cli.output import Output
from afterword._views.account import Account, broken

from . import samples
from .evidence import TASKS, Finding

Accounts = Mapping[str, Account]


def verdict(console: Console, url: str, accounts: Accounts, findings: Iterable[Finding]) -> bool:
    """Print the account; tell whether it is consistent, by its law, and true, by what was found outside."""
    console.print()
    output, counts, wrong = Output(console=console), accounts.values(), broken(accounts.values())
    account_view.show(output, counts, wrong, TASKS)
    account_view.verdict(output, counts, wrong, f"{url}/metrics")
    right = bool(accounts) and not wrong
    for finding in findings:
        right = right and finding.agrees
        mark = "[green]✓[/]" if finding.agrees else "[bold red]✗[/]"
        _line(console, f"{mark} {finding}")
    return right


def explain(console: Console, accounts: Accounts, logs: Sequence[Path]) -> None:
    """Print what made tasks fail, and from the logs a failed request, a task that never ran and a lost one."""
    causes = {
        one.name.removeprefix(TASKS): ", ".join(f"{n} × {kind}" for kind, n in one.failures.items())
        for one in accounts.values()
        if one.failures
    }
    _facts(console, "Why tasks failed", causes, wrap=True)
    log, *_ = logs
    failed = samples.failed_request(log)
    if failed:
        _facts(console, "A failed request", samples.describe_request(failed), wrap=True)
    if never_ran := samples.task_that_never_ran(log, failed):
        _facts(console, "A task that never ran", samples.describe_task(never_ran), wrap=True)
    told = [(log, line) for log in logs for line in samples.lost_tasks(log)]
    for log, line in told[:1]:
        _facts(console, "A lost task", samples.describe_lost(line) | {"told in": str(log)}, wrap=True)


def where_to_look(console: Console, url: str, log: Path, look: str, more: Mapping[str, str] | None = None) -> None:
    """Print where to go on from here: first of all to the address of Afterword's own console."""
    places = {"the console": look, "metrics": f"{url}/metrics", "log": str(log), **(more or {})}
    if failed := samples.failed_request(log):
        places["a trace"] = f"grep {failed.get('trace_id')} {log}"
    _facts(console, "Where to look", places | {"the API": f"{url}/docs"})


def _facts(console: Console, title: str, facts: Mapping[str, str], *, wrap: bool = False) -> None:
    """Print names and facts; addresses and commands are not wrapped, so that they can be copied."""
    if not facts:
        return
    _line(console, f"\n[bold]{title}[/]")
    margin = max(8, *map(len, facts)) + 4
    for name, fact in facts.items():
        lines = textwrap.wrap(fact, console.width - margin, break_long_words=False) if wrap else [fact]
        text = ("\n" + " " * margin).join(lines)
        _line(console, f"  {name:<{margin - 2}}{escape(text)}")


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False)
