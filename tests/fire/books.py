"""The books of every signal, compared after each step, run by run where a signal names runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View

from afterword import TaskObserver, TaskRun
from afterword._ledger import runs as ledger
from afterword._ledger.journal import history
from afterword._ledger.journal.journal import Journal, journal_at
from tests.fire.world import World
from tests.support.accounts import RUN_ID, Accounts
from tests.support.numbers import MeterAccount, Numbers
from tests.support.story import OUTCOMES, short


class Book(TaskObserver):
    """An observer's own book: which runs were told of, by id, and whatever was told out of order."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.started_runs: set[str] = set()
        self.outcomes: dict[str, str] = {}
        self.wrong: list[str] = []
        self.told = 0

    def scheduled(self, run: TaskRun) -> None:
        self.told += 1
        if run.id in self.names:
            self.wrong.append(f"{run} is scheduled twice")
        self.names[run.id] = short(run.name)

    def started(self, run: TaskRun) -> None:
        self.told += 1
        if run.id not in self.names or run.id in self.started_runs or run.id in self.outcomes:
            self.wrong.append(f"{run} starts when it cannot")
        self.started_runs.add(run.id)

    def ended(self, run: TaskRun) -> None:
        self.told += 1
        if run.id not in self.names or run.id in self.outcomes:
            self.wrong.append(f"{run} ends when it cannot")
        self.outcomes[run.id] = str(run.outcome)

    @property
    def running(self) -> set[str]:
        return self.started_runs - self.outcomes.keys()

    @property
    def pending(self) -> set[str]:
        return self.names.keys() - self.started_runs - self.outcomes.keys()


class Moody(TaskObserver):
    """An observer that raises whenever it is in the mood."""

    def __init__(self) -> None:
        self.mood = ""

    def _raise(self, mood: str) -> None:
        if self.mood == mood:
            raise RuntimeError(mood)

    def scheduled(self, run: TaskRun) -> None:
        self._raise("scheduled")

    def started(self, run: TaskRun) -> None:
        self._raise("started")

    def ended(self, run: TaskRun) -> None:
        self._raise("ended")

    def request_failed(self, info: Any, exc: BaseException) -> None:
        self._raise("request_failed")


class Meter(MeterAccount):
    """Reads the counters and gauges of tasks, and leaves out what takes long and says nothing of the law."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        views = [View(instrument_name=name, aggregation=DropAggregation()) for name in _NOT_OF_THE_LAW]
        self.provider = MeterProvider(metric_readers=[self.reader], views=views, shutdown_on_exit=False)


_NOT_OF_THE_LAW = ("afterword.*", *(f"background_task.{name}" for name in ("duration", "wait", "thread_wait")))


class Books:
    """All books of one application."""

    def __init__(self, directory: Path) -> None:
        self.accounts = Accounts()
        self.accounts.meter = Meter()
        self.accounts.lines.configure()
        self.book, self.moody = Book(), Moody()
        self.journal: Journal = journal_at(str(directory))
        self.journal_holds = True
        """Whether nothing has been done to the journal."""
        self.checked = 0
        self._by_turns: list[tuple[Numbers, str]] = [
            (self.accounts.prometheus, "prometheus"),
            (self.accounts.meter, "otel metrics"),
        ]
        self.lines: dict[str, Counter[str]] = {"scheduled": Counter(), "started": Counter(), "ended": Counter()}
        self.line_outcomes: dict[str, str] = {}
        self.span_outcomes: dict[str, str] = {}

    def settings(self) -> dict[str, Any]:
        """Return what the application is instrumented with."""
        mine = {"observers": [self.moody, self.book], "journal": self.journal.directory, "metrics_path": None}
        return self.accounts.settings() | mine

    def close(self) -> None:
        """Let go of the files and the providers."""
        self.journal.close()
        self.accounts.shutdown()

    # --- after each step -----------------------------------------------------------------------------------------

    def check(self, world: World, *, always_tracked: bool) -> None:
        """State the law in every signal, and that each run is told of as it was."""
        self._check_book(world, always_tracked=always_tracked)
        if self.book.told != self.checked:
            self.checked = self.book.told
            self._check_numbers(*self._by_turns[0])  # they add up: what is wrong now is wrong a step later
            self._by_turns.reverse()
        self._check_lines()
        self._check_spans()
        if self.journal_holds:
            self._check_journal()

    def _check_book(self, world: World, *, always_tracked: bool) -> None:
        book = self.book
        assert not book.wrong
        assert {run.id for run in ledger.pending()} == book.pending
        assert {run.id for run in ledger.running()} == book.running
        assert len(book.names) == len(book.pending) + len(book.running) + len(book.outcomes)
        assert world.began == book.started_runs, "what was called is not what was told as started"
        for run, deed in world.deeds.items():
            outcome = book.outcomes.get(run)
            # a thread whose request was cancelled ends some day; a torn down coroutine ends before its run does
            assert outcome in (deed, "cancelled"), f"a task that {deed} is told as {outcome}"
        assert not (always_tracked and world.untracked), "a task without a run"

    def _check_numbers(self, numbers: Numbers, who: str) -> None:
        told: Counter[tuple[str, str]] = Counter()
        for name, labels, value in numbers.samples():
            if value and name in _STATES:
                task = short(labels["background_task_name"])
                told[task, _STATES[name] or labels["background_task_outcome"]] += int(value)
        book, expected = self.book, Counter[tuple[str, str]]()
        for run, name in book.names.items():
            expected[name, "scheduled"] += 1
            if run in book.started_runs:
                expected[name, "started"] += 1
            state = book.outcomes.get(run) or ("running" if run in book.started_runs else "pending")
            expected[name, state] += 1
        assert told == expected, f"{who}: {told - expected} too much, {expected - told} too little"

    def _check_lines(self) -> None:
        entries = self.accounts.lines.entries
        for entry in entries:
            what = str(entry["event"]).rpartition(".")[2]
            if "task_run" in entry:
                self.lines["ended" if what in OUTCOMES else what][entry["task_run"]] += 1
                if what in OUTCOMES:
                    self.line_outcomes[entry["task_run"]] = what
        entries.clear()
        assert self.lines["scheduled"] == Counter(self.book.names.keys())
        assert self.lines["started"] == Counter(self.book.started_runs)
        assert self.lines["ended"] == Counter(self.book.outcomes.keys())
        assert self.line_outcomes == self.book.outcomes

    def _check_spans(self) -> None:
        exporter = self.accounts.spans.exporter
        for attributes in [span.attributes or {} for span in exporter.get_finished_spans()]:
            if RUN_ID not in attributes:  # a request's
                continue
            run = str(attributes[RUN_ID])
            assert run not in self.span_outcomes, "a run has two spans"
            self.span_outcomes[run] = str(attributes["background_task.outcome"])
        exporter.clear()
        assert self.span_outcomes == self.book.outcomes

    def _check_journal(self) -> None:
        assert not self.journal.is_off
        if self.journal.writer is None:
            assert not self.book.names
            return
        mine = self.journal.writer.slots.process
        ended = [each for each in history.ended(self.journal.directory) if each.process == mine]
        assert Counter(each.run for each in ended) == Counter(self.book.outcomes.keys())
        assert {each.run: each.outcome for each in ended} == self.book.outcomes
        states = {each.run: each.state for each in history.in_flight(self.journal.directory)}
        assert {run for run, state in states.items() if state == "pending"} == self.book.pending
        assert {run for run, state in states.items() if state == "running"} == self.book.running


_STATES = {
    "background_task_scheduled_total": "scheduled",
    "background_task_started_total": "started",
    "background_task_pending": "pending",
    "background_task_running": "running",
    "background_task_ended_total": "",
}
