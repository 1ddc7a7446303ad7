"""A process that keeps a journal at full speed, closes the accounts of the dead, and notes what it did in a file.

Each note is one write to a file that is opened to append, so that it is there whenever the process is killed.
"""

from __future__ import annotations

import os
import random
import sys

from afterword._common.model import Outcome, TaskRun
from afterword._common.observer import TaskObserver
from afterword._ledger.journal.journal import journal_at
from afterword._ledger.journal.records import Record
from afterword._ledger.journal.recovery import DeadProcess
from afterword._ledger.journal.retention import Limits
from tests.support.journals import Ids, ledger_of, scheduled

UNBOUNDED = Limits(runs=1 << 60, seconds=1e9, size=1 << 60)


class Notes(TaskObserver):
    """Notes what is told of the runs of this process, and of those of the dead."""

    has_left = False

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def scheduled(self, run: TaskRun) -> None:
        self.note("scheduled", run.id)

    def ended(self, run: TaskRun) -> None:
        self.note("own", run.id, run.outcome)

    def tell(self, record: Record) -> None:
        self.note("recovered" if record.recovered else "found", record.run, record.outcome)

    def count(self, dead: DeadProcess) -> None:
        self.note("counted", dead.process, len(dead.lost))

    def count_fault(self) -> None:
        self.note("fault", os.getpid())

    def went_off(self) -> None:
        self.note("off", os.getpid())


def main() -> None:
    """Run until somebody kills us."""
    directory, notes = sys.argv[1], Notes(sys.argv[2])
    journal = journal_at(directory, UNBOUNDED)
    journal.join(notes)
    ledger = ledger_of(journal, notes, traces=[Ids()])
    journal.open()
    runs: list[TaskRun] = []
    while True:
        runs.append(scheduled(ledger))
        if random.random() < 0.9:
            ledger.start(runs[-1])
        if len(runs) > 20:
            run = runs.pop(random.randrange(len(runs)))
            outcome = random.choice([Outcome.SUCCEEDED, Outcome.FAILED])
            if not ledger.finish(run, outcome):
                ledger.start(run)
                ledger.finish(run, outcome)
        if random.random() < 0.002:
            journal.recover()


if __name__ == "__main__":
    main()
