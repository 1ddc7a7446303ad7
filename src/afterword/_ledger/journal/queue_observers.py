"""What a worker of a queue notes: what it has begun, and each attempt that did not end its task.

If it dies, what it had begun and had acknowledged already is lost. A message that is acknowledged late comes
again, which is noted with it, and what was only received is still the broker's. Others are acknowledged a moment
after the task has begun: that moment is noted, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..._common.faults import EXITS
from ..._common.model import TaskRun
from ..._common.observer import QueueObserver, TaskObserver
from .journal import Journal
from .layout import ACKNOWLEDGEMENT_AT, CAPACITY, LINE_FEED, RUNNING, STARTED, STARTED_AT, TEXT_AT
from .lines import encoded, engine_part, first_part, message_part, returned_line
from .observers import Ended, Told


def with_journal(journal: Journal, others: Sequence[TaskObserver]) -> list[TaskObserver]:
    """Return the observers of a Celery application in their order."""
    return [QueueEnded(journal), QueueBegun(journal), *others, QueueTold(journal)]


class QueueEnded(Ended):
    """Writes the end of a run, and that of an attempt that did not end its task."""

    def returned(self, run: TaskRun) -> None:
        """Write the line of the attempt. It is there to be read: whoever finds it has nothing to tell."""
        try:
            writer = self._journal.writer
            if (writer is None and (writer := self._journal.open()) is None) or writer.off:
                return
            writer.segments.append(returned_line(run))
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)


class QueueBegun(QueueObserver):
    """Notes what has begun, and then that nobody runs it again."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def started(self, run: TaskRun) -> None:
        """Write the run into a free slot."""
        try:
            writer = self._journal.writer
            if (writer is None and (writer := self._journal.open()) is None) or writer.off:
                return
            text = first_part(run) + engine_part(run)
            if len(encoded(text)) >= CAPACITY:
                text = first_part(run, short=True) + engine_part(run, short=True)
            data = encoded(text + message_part(run))
            if len(data) >= CAPACITY:  # an id of somebody's that no slot has room for
                return
            slots = writer.slots
            try:
                slot = mapping, at = slots.free.pop()
            except IndexError:
                slot = mapping, at = slots.take()
            end = (start := at + TEXT_AT) + len(data)
            mapping[start:end] = data
            mapping[end] = LINE_FEED
            # its span is open in the process that runs it; what is known here is where it was published
            STARTED.pack_into(mapping, at + STARTED_AT, run.started_at, b"", b"", run.sampled)
            mapping[at + ACKNOWLEDGEMENT_AT] = run._acknowledgement
            mapping[at] = RUNNING  # last, so that a slot that was being written is free
            writer.entries[run] = [slot, text, None]
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self._journal.switch_off(fault)

    def acknowledged(self, run: TaskRun) -> None:
        """Note in its slot whether it is lost if this process dies."""
        writer = self._journal.writer
        entry = None if writer is None else writer.entries.get(run)
        if entry is not None and entry[0] is not None:
            mapping, at = entry[0]
            mapping[at + ACKNOWLEDGEMENT_AT] = run._acknowledgement


class QueueTold(Told):
    """Notes that an end was told, and forgets an attempt that did not end its task."""

    def returned(self, run: TaskRun) -> None:
        """Free the slot: the task goes on elsewhere."""
        self.ended(run)
