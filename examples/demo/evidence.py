"""What the outside world saw of the tasks: mails at the mail server, rows in the database, files on disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from afterword._views.account import Account

from .mailserver import Mailroom

TASKS = "examples.shop.tasks."
WRITE_STATEMENT, SEND_STATEMENT = "write_statement (celery)", "send_statement (celery)"
_OPERATOR = "operator@shop.example"
_CLERK = "clerk@refused.example"
"""Gets statements, and no other mail."""


class Finding(NamedTuple):
    """One comparison: a fact from outside, and what the account says of it."""

    fact: str
    counted: int
    claim: str
    accounted: int
    lost: int = 0
    """Of so many more nobody knows how far they came."""

    @property
    def agrees(self) -> bool:
        """Whether both say the same, as far as can be known."""
        return self.accounted <= self.counted <= self.accounted + self.lost

    def __str__(self) -> str:
        lost = f", and {self.lost} lost of which nobody knows" if self.lost else ""
        return f"{self.counted} {self.fact}, {self.accounted} {self.claim}{lost}."


def compare(accounts: dict[str, Account], mailroom: Mailroom, directory: Path, database: Path) -> list[Finding]:
    """Compare the account with what can be counted without it."""

    def chosen(*tasks: str) -> list[Account]:
        names = [f"{TASKS}{task}" for task in tasks] or list(accounts)
        return [accounts[name] for name in names if name in accounts]

    def ended(outcome: str, *tasks: str) -> int:
        return sum(account.ended[outcome] for account in chosen(*tasks))

    def lost(*tasks: str) -> int:
        return sum(account.lost for account in chosen(*tasks))

    with closing(sqlite3.connect(database)) as db:
        audit, gallery, tickets = (
            int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table in ("audit", "gallery", "tickets")
        )
    pick_lists = sum(1 for _ in (directory / "picklists").iterdir())
    mails = ("send_confirmation", "send_manual", "send_welcome", SEND_STATEMENT)
    confirmations = ended("failed", "send_confirmation")
    findings = [
        Finding(
            "mails to customers",
            mailroom.accepted.total() - mailroom.accepted[_OPERATOR],
            "mail tasks succeeded",
            ended("succeeded", *mails),
            lost(*mails),
        ),
        Finding(
            "recipients refused",
            mailroom.refused.total() - mailroom.refused[_CLERK],
            "confirmations failed",
            confirmations,
        ),
        Finding("audit rows", audit, "write_audit_row succeeded", ended("succeeded", "write_audit_row")),
        Finding("pictures shown", gallery, "publish_picture succeeded", ended("succeeded", "publish_picture")),
        Finding("pick lists", pick_lists, "notify_warehouse succeeded", ended("succeeded", "notify_warehouse")),
        Finding("tickets", tickets, "tasks failed", ended("failed"), lost()),
    ]
    if chosen(WRITE_STATEMENT):
        written = sum(1 for _ in (directory / "statements").iterdir())
        attempts = ended("failed", SEND_STATEMENT) + sum(one.returned.total() for one in chosen(SEND_STATEMENT))
        succeeded = "write_statement succeeded", ended("succeeded", WRITE_STATEMENT)
        findings += [
            Finding("statements on disk", written, *succeeded, lost(WRITE_STATEMENT)),
            Finding(
                "times was the clerk refused",
                mailroom.refused[_CLERK],
                "attempts of send_statement failed or were returned",
                attempts,
                lost(SEND_STATEMENT),
            ),
        ]
    return findings
