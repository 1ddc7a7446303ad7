"""One directory's journal, as this process keeps it. Applications that name the same directory share it."""

from __future__ import annotations

import os
import threading
import time
from typing import Final, Protocol

from ..._common import forks
from ..._common.faults import EXITS, contained
from ..._common.log import log_fault
from ..._common.own_thread import Upkeep
from . import files
from .records import Record
from .recovery import DeadProcess, Teller, recover
from .retention import Limits, Retention
from .writer import Writer

_RETENTION_SECONDS: Final = 60.0

_changing = forks.lock()
_journals: dict[str, Journal] = {}


class Keeper(Teller, Protocol):
    """An application whose runs are written down."""

    @property
    def has_left(self) -> bool:
        """Whether it is collected, or instrumented no more."""
        ...

    def still_has(self, run: Record, /) -> bool | None:
        """Ask the broker whether it has a run's message, unacknowledged; ``None`` if it cannot say."""

    def went_off(self) -> None:
        """Hear that an error has switched the journal off."""


class Journal:
    """What this process writes into one directory from its first run on, and whom it finds dead there.

    Any error of its own switches it off for good, with one error line, and its file says so. Nothing is raised.
    """

    def __init__(self, directory: str, limits: Limits) -> None:
        self.directory = directory
        self.retention = Retention(directory, limits)
        self.writer: Writer | None = None
        """The files of this process, once they are open."""
        self.is_off = False
        self.keepers: list[Keeper] = []
        """The applications of this process that keep it, in the order in which they were instrumented."""
        self._upkeep = Upkeep("afterword-journal", self.look_after)
        self._next_retention = 0.0

    def open(self) -> Writer | None:
        """Make this process's files unless they are there; return them, or ``None`` if the journal is off."""
        try:
            with _changing:
                if self.writer is None and not self.is_off:
                    files.make_directory(self.directory)
                    self.writer = Writer(self.directory, self._upkeep.ask)
                    self._upkeep.start()
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self.switch_off(fault)
        return self.writer

    def join(self, keeper: Keeper) -> None:
        """Add an application, which tells of the dead from now on."""
        with _changing:
            self.keepers = [*(each for each in self.keepers if not each.has_left), keeper]

    @property
    def teller(self) -> Teller | None:
        """Who tells of the dead: one application, so that each run is told once; the one that joined last.

        Without one, this process closes nobody's account.
        """
        return next((keeper for keeper in reversed(self.keepers) if not keeper.has_left), None)

    def switch_off(self, fault: BaseException) -> None:
        """Stop keeping the journal, and say so in this process's file and in its log."""
        with _changing:
            if self.is_off:
                return
            self.is_off = True
            if self.writer is not None:
                self.writer.off = True
                with contained():
                    self.writer.slots.say_off()
        log_fault(f"the journal in {self.directory} is off: nothing more is written there by this process", fault)
        for keeper in self.keepers:
            with contained():
                if not keeper.has_left:
                    keeper.count_fault()
            with contained():
                keeper.went_off()

    # --- in the thread ------------------------------------------------------------------------------------------

    def start_up(self) -> None:
        """Open this process's files and look for the dead, in a thread: the application starts meanwhile."""
        threading.Thread(target=self._start_up, name="afterword-journal-start", daemon=True).start()

    def _start_up(self) -> None:
        if self.open() is not None:
            self.recover()

    def look_after(self) -> None:
        """Make room ahead, give a sign of life, delete what is too old, close the accounts of the dead."""
        writer = self.writer
        if writer is None or self.is_off:
            return
        try:
            made = writer.make_room()
            writer.slots.sign_of_life()
            if made or time.monotonic() >= self._next_retention:
                self._next_retention = time.monotonic() + _RETENTION_SECONDS
                self.retention.apply(writer.slots.process, writer.segments.in_use)
        except BaseException as fault:  # noqa: BLE001  no exit leads out of a thread of ours
            self.switch_off(fault)
        else:
            self.recover()

    def recover(self) -> list[DeadProcess]:
        """Close the accounts of the dead, and return them. Call it in a thread: it may take a second."""
        teller = self.teller
        if teller is None or self.is_off:
            return []
        try:
            dead = recover(self.directory, teller, self._comes_again)
            if dead:
                self._next_retention = 0.0
            return dead
        except FileNotFoundError:  # nobody has written anything yet
            return []
        except EXITS:
            raise
        except BaseException as fault:  # noqa: BLE001
            self.switch_off(fault)
            return []

    def _comes_again(self, run: Record) -> bool:
        """Return whether what had begun comes again; its process died while it acknowledged its message.

        If no broker can say, it does not: what is sent is with the broker before the process gets its turn again.
        """
        answers: list[bool | None] = []
        for keeper in self.keepers:
            with contained():
                answers.append(None if keeper.has_left else keeper.still_has(run))
        return True in answers

    # --- the end ------------------------------------------------------------------------------------------------

    def say_ending(self) -> None:
        """Say that this process has been told to end: whoever finds what it has left will tell it."""
        if self.writer is not None and not self.is_off:
            with contained():
                self.writer.slots.say_ending()

    def close(self) -> None:
        """Let go of the files as if this process were dead: the next one closes its account. For tests."""
        self._upkeep.stop()
        with _changing:
            self.is_off = True
            if self.writer is not None:
                self.writer.off = True
                self.writer.slots.release()
            if _journals.get(self.directory) is self:  # another may have come since
                del _journals[self.directory]

    def forget(self) -> None:
        """In a forked child, leave the files to the parent; the child's first run opens its own."""
        if self.writer is not None:
            self.writer.leave_to_parent()
            self.writer = None
        self._upkeep.forget()


def journal_at(directory: str, limits: Limits | None = None) -> Journal:
    """Return the journal of a directory. Limits hold until it is asked for with others."""
    path = os.path.realpath(directory)
    with _changing:
        journal = _journals.get(path)
        if journal is None:
            journal = _journals[path] = Journal(path, limits or Limits())
        elif limits is not None:
            journal.retention.limits = limits
        return journal


def _forget() -> None:
    for journal in _journals.values():
        journal.forget()


forks.in_child(_forget)
