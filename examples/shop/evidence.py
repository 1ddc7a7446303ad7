"""What the outside world saw of the tasks: mails at the mail server, rows in the database, files on disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from afterword._views.account import Account

from .mailserver import Mailroom

_OPERATOR = "operator@shop.example"


class Finding(NamedTuple):
    """One comparison: a fact from outside, and what the account says of it."""

    fact: str
    counted: int
    claim: str
    accounted: int

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.counted == self.accounted


def compare(accounts: dict[str, Account], mailroom: Mailroom, directory: Path, database: Path) -> list[Finding]:
    """Compare the account with what can be counted without it."""

    def ended(outcome: str, *tasks: str) -> int:
        names = [f"examples.shop.tasks.{task}" for task in tasks] or list(accounts)
        return sum(accounts[name].ended[outcome] for name in names if name in accounts)

    with closing(sqlite3.connect(database)) as db:
        audit, gallery, tickets = (
            int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in ("audit", "gallery", "tickets")
        )
    pick_lists = sum(1 for _ in (directory / "picklists").iterdir())
    confirmations = ended("failed", "send_confirmation")
    return [
        Finding(
            "mails to customers",
            mailroom.accepted.total() - mailroom.accepted[_OPERATOR],
            "mail tasks succeeded",
            ended("succeeded", "send_confirmation", "send_manual", "send_welcome"),
        ),
        Finding("recipients refused", mailroom.refused.total(), "confirmations failed", confirmations),
        Finding("audit rows", audit, "write_audit_row succeeded", ended("succeeded", "write_audit_row")),
        Finding("pictures shown", gallery, "publish_picture succeeded", ended("succeeded", "publish_picture")),
        Finding("pick lists", pick_lists, "notify_warehouse succeeded", ended("succeeded", "notify_warehouse")),
        Finding("tickets", tickets, "tasks failed", ended("failed")),
    ]
