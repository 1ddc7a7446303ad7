"""The law under fire: a random walk through everything that may happen, and after each step every book agrees.

By default it is always the same one: 10,000 steps, or as many as fit in 50 seconds. ``LAW_STEPS=100000`` takes
another walk each time, as long as it says.
"""

import gc
import logging
import os
import shutil
import signal
import tempfile
import threading
import warnings
from pathlib import Path
from random import randrange
from time import monotonic

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import afterword
from afterword._ledger import deferred
from afterword._ledger import runs as ledger
from tests.fire.books import Books
from tests.fire.plans import Job, Plan, plans, quick_plans
from tests.fire.world import World
from tests.support.accounts import restored_structlog
from tests.support.waiting import wait_until

LONGER = "LAW_STEPS" in os.environ
STEPS = int(os.environ.get("LAW_STEPS", "10000"))
STEPS_A_WALK = 50
AT_MOST_SECONDS = 50
MOODS = ("", "scheduled", "started", "ended", "request_failed")


class Walk(RuleBasedStateMachine):
    """One application, from its first request to its last."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.structlog = restored_structlog()
        self.structlog.__enter__()
        self.directory = Path(tempfile.mkdtemp(prefix="law-"))
        self.world, self.books = World(), Books(self.directory)
        self.was_away = False
        self.mood = 0
        self.instrument()

    def instrument(self) -> None:
        afterword.instrument(self.world.app, **self.books.settings())
        self.is_instrumented = True

    @invariant()
    def every_book_agrees(self) -> None:
        deferred.drain()
        self.books.check(self.world, always_tracked=not self.was_away)
        type(self).steps += 1

    # --- requests and tasks ------------------------------------------------------------------------------------

    @rule(plan=plans)
    def send(self, plan: Plan) -> None:
        self.world.send(plan)

    @rule(several=st.lists(plans, min_size=1, max_size=3))
    def send_several(self, several: list[Plan]) -> None:
        for plan in several:
            self.world.send(plan)

    @precondition(lambda self: self.world.visits)
    @rule(number=st.integers(0, 1000))
    def open_a_gate(self, number: int) -> None:
        self.world.open_gate(self.world.visits[number % len(self.world.visits)])

    @precondition(lambda self: self.world.visits)
    @rule(number=st.integers(0, 1000))
    def open_another_gate(self, number: int) -> None:
        self.world.open_gate(self.world.visits[number % len(self.world.visits)])

    @precondition(lambda self: self.world.visits)
    @rule(number=st.integers(0, 1000))
    def cancel(self, number: int) -> None:
        self.world.cancel(self.world.visits[number % len(self.world.visits)])

    @precondition(lambda self: self.world.visits)
    @rule(number=st.integers(0, 1000))
    def disconnect(self, number: int) -> None:
        self.world.disconnect(self.world.visits[number % len(self.world.visits)])

    @rule(plan=plans)
    def open_a_websocket(self, plan: Plan) -> None:
        self.world.send(plan, by_websocket=True)

    @precondition(lambda self: self.world.kept)
    @rule(plan=plans)
    def call_what_was_kept(self, plan: Plan) -> None:
        self.world.send(plan, with_kept=True)

    @precondition(lambda self: self.world.kept)
    @rule()
    def let_go_of_what_was_kept(self) -> None:
        self.world.kept.clear()

    @rule()
    def collect_garbage(self) -> None:
        gc.collect(1)  # all there is since the last two collections

    @rule(together=st.lists(quick_plans, min_size=2, max_size=3))
    def serve_in_threads(self, together: list[Plan]) -> None:
        threads = [threading.Thread(target=self.world.send_from_thread, args=(plan,)) for plan in together]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # --- what is done to Afterword -----------------------------------------------------------------------------

    @rule(
        how=st.sampled_from([*("instrument", "upset an observer") * 3, "journal: error", "journal: gone", "fork"])
    )
    def disturb(self, how: str) -> None:
        if how == "instrument":
            self._uninstrument_or_instrument()
        elif how == "upset an observer":
            self.mood = (self.mood + 1) % len(MOODS)
            self.books.moody.mood = MOODS[self.mood]
        elif how == "fork":
            self._fork()
        else:
            self._break_the_journal(how)

    def _uninstrument_or_instrument(self) -> None:
        if self.is_instrumented:
            afterword.uninstrument(self.world.app)
            self.is_instrumented, self.was_away = False, True
        else:
            self.instrument()

    def _break_the_journal(self, how: str) -> None:
        self.books.journal_holds = False
        if how == "journal: error":
            self.books.journal.switch_off(OSError(28, "No space left on device"))
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _fork(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(30)
                self._live_as_a_child()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child's account is not its own"

    def _live_as_a_child(self) -> None:
        assert not ledger.has_open_runs()
        told = len(self.books.book.names)
        job = Job("mail", in_thread=False, ending="returns", held=False, placing="added")
        self.world.send_from_thread(Plan(in_thread=False, jobs=(job,), ending="answered"))
        assert len(self.books.book.names) - told == self.is_instrumented
        assert not ledger.has_open_runs()
        samples = [
            s for s in self.books.accounts.prometheus.samples() if s[0] == "background_task_scheduled_total"
        ]
        assert sum(value for *_, value in samples) == self.is_instrumented

    def teardown(self) -> None:
        try:
            self.world.close()
            self.world.module_level = None  # type: ignore[assignment]
            wait_until(_all_have_ended, why=lambda: f"never ended: {[*ledger.pending(), *ledger.running()]}")
            self.every_book_agrees()
        finally:
            ledger.forget()
            afterword.uninstrument(self.world.app)
            self.books.close()
            shutil.rmtree(self.directory, ignore_errors=True)
            self.structlog.__exit__(None, None, None)


def _all_have_ended() -> bool:
    """Return whether nothing is open; a thread that nobody waits for may keep something for a moment."""
    gc.collect()
    deferred.drain()
    return not ledger.has_open_runs()


@pytest.mark.slow
@pytest.mark.timeout(400 + STEPS // 10)
def test_the_law_under_fire(monkeypatch: pytest.MonkeyPatch):
    """Whatever happens in whatever order, after each step every signal has each run once, and as it was."""
    monkeypatch.setattr(
        deferred, "_woken", deferred.queue.SimpleQueue()
    )  # nobody settles anything between two looks
    monkeypatch.setattr(deferred.sweeper, "started", True)
    logging.disable()  # pytest keeps lines with their tracebacks, and those keep tasks from being collected
    Walk.steps = 0
    gc.collect()
    gc.disable()  # a collection is a step
    try:
        first, end = randrange(1 << 30) if LONGER else 0, monotonic() + AT_MOST_SECONDS
        number = first
        while Walk.steps < STEPS and (LONGER or monotonic() < end):
            run_state_machine_as_test(
                seed(number)(Walk),
                settings=settings(
                    max_examples=10,
                    stateful_step_count=STEPS_A_WALK,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
            number += 1
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
    print(f"{Walk.steps} steps")
    assert Walk.steps >= 500
