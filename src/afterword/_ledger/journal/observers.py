"""The journal's three places among the observers: before all are told of an end, after traces begin, and last.

A run is noted as in flight before anybody counts it, with the ids that the traces gave it. Its end is written
before anybody is told, and noted as told when everybody was. So whoever finds the files later knows of each run
whether it has ended, and whether that was told.

This is written for speed: mapped memory, few calls, nothing that lets another thread go first.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._common.faults import EXITS
from ..._common.model import TaskRun
from ..._common.observer import TaskObserver
from .journal import Journal
from .layout import CAPACITY, FREE, LINE_FEED, PENDING, RUNNING, STARTED, STARTED_AT, TEXT_AT
from .lines import TOLD_BY_OWNER, encoded, engine_part, first_part, line


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
        """Write the run into a free slot."""
        try:
            writer = self._journal.writer
            if (writer is None and (writer := self._journal.open()) is None) or writer.off:
                return
            text = first_part(run)
            try:
                data = text.encode()
            except UnicodeEncodeError:
                data = encoded(text)
            if (size := len(data)) >= CAPACITY:
                text = first_part(run, short=True)
                data = encoded(text)
                size = len(data)
            slots = writer.slots
            try:
                slot = mapping, at = slots.free.pop()
            except IndexError:
                slot = mapping, at = slots.take()
            end = (start := at + TEXT_AT) + size
            mapping[start:end] = data
            mapping[end] = LINE_FEED
            mapping[at] = PENDING  # last, so that a slot that was being written is free
            writer.entries[run] = [slot, text, None]
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)

    def started(self, run: TaskRun) -> None:
        """Note in its slot that it has started, and its span."""
        try:
            writer = self._journal.writer
            if writer is None or (entry := writer.entries.get(run)) is None:
                return
            mapping, at = entry[0]
            trace, span = (run.trace_id or "").encode(), (run.span_id or "").encode()
            STARTED.pack_into(mapping, at + STARTED_AT, run.started_at, trace, span, run.sampled)
            mapping[at] = RUNNING
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)


class Ended(TaskObserver):
    """Writes the end of a run. Comes before all that tell of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ended(self, run: TaskRun) -> None:
        """Write the line: what the slot says, and how it ended."""
        try:
            writer = self._journal.writer
            if (writer is None and (writer := self._journal.open()) is None) or writer.off:
                return
            entry = writer.entries.get(run)
            if entry is None:  # it was scheduled before there was a journal
                entry = writer.entries[run] = [None, first_part(run) + engine_part(run), None]
            entry[2] = writer.segments.append(line(entry[1], run))
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)


class Told(TaskObserver):
    """Notes that the end of a run was told. Comes after all that tell of it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def ended(self, run: TaskRun) -> None:
        """Note it in the line, and free the slot. Needs no disk, so it goes on when the journal is off."""
        try:
            writer = self._journal.writer
            if writer is None or (entry := writer.entries.pop(run, None)) is None:
                return
            slot, _, place = entry
            if place is not None:
                mapping, at = place
                mapping[at] = TOLD_BY_OWNER
            if slot is not None:
                mapping, at = slot
                mapping[at] = FREE
                writer.slots.free.append(slot)
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)
