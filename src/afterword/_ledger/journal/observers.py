"""The journal's three places among the observers: before all are told of an end, after traces begin, and last.

A run is noted as in flight before anybody counts it, with the ids that the traces gave it. Its end is written
before anybody is told, and noted as told when everybody was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..._common.faults import EXITS
from ..._common.model import TaskObserver, TaskRun
from .journal import Journal

_NAME: Final = "Journal"


def with_journal(
    journal: Journal, traces: Sequence[TaskObserver], others: Sequence[TaskObserver]
) -> list[TaskObserver]:
    """Return the observers of an application in their order: those that give a run its ids come first."""
    return [Ended(journal), *traces, Begun(journal), *others, Told(journal)]


class Begun(TaskObserver):
    """Notes what is in flight."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def scheduled(self, run: TaskRun) -> None:
        """Write the run into a slot."""
        journal = self._journal
        try:
            writer = journal.writer or journal.open()
            if writer is not None:
                writer.scheduled(run)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            journal.switch_off(fault)

    def started(self, run: TaskRun) -> None:
        """Note that it has started."""
        writer = self._journal.writer
        try:
            if writer is not None:
                writer.started(run)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)


class Ended(TaskObserver):
    """Writes the end of a run. Comes before all that tell of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ended(self, run: TaskRun) -> None:
        """Write the line."""
        journal = self._journal
        try:
            writer = journal.writer or journal.open()
            if writer is not None:
                writer.ended(run)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            journal.switch_off(fault)


class Told(TaskObserver):
    """Notes that the end of a run was told. Comes after all that tell of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ended(self, run: TaskRun) -> None:
        """Free the slot."""
        writer = self._journal.writer
        try:
            if writer is not None:
                writer.told(run)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)
