"""Try mutants quickly: the tests are collected once, and each mutant is a fork that runs those that reach it.

mutmut collects anew for every mutant, which takes longer than most mutants live.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from mutmut.core import MutmutCallStack
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

KILLED, SURVIVED, UNREACHED, TIMEOUT = 1, 0, 33, 36
UNSOUND = 2
"""A test fails without the mutant, too."""
_WORDS = {KILLED: "killed", SURVIVED: "LIVES", UNREACHED: "UNREACHED", TIMEOUT: "timeout"}
_GRACE = 30.0
"""Seconds that a mutant may take beyond three times what its tests take."""


class Trial(NamedTuple):
    """One mutant that is being tried in a child process."""

    mutant: str
    tests: list[pytest.Item]
    suspect: pytest.Item | None
    """The test that has noticed it, if that is asked again, alone; ``tests`` are those that come after it."""
    report: int
    """The end of a pipe that says which test has noticed it."""
    deadline: float


class Reach:
    """A pytest plugin that notes which functions each test reaches, as mutmut reports them, and for how long."""

    def __init__(self) -> None:
        self.tests_of: defaultdict[str, set[str]] = defaultdict(set)
        self.seconds_of: defaultdict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        # a stack of callers, which would break in a destructor and in deep calls; we have no use for it
        MutmutCallStack.set = MutmutCallStack.reset = lambda *_: None  # type: ignore[assignment, method-assign]

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Take what the test has reached."""
        reached = state()._stats
        for function in reached.copy():
            self.tests_of[function].add(item.nodeid)
        reached.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the seconds of a test; forget a test that fails."""
        self.seconds_of[report.nodeid] += report.duration
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Leave out what fails anyway."""
        for tests in self.tests_of.values():
            tests.difference_update(self.failed)


class Trials:
    """A pytest plugin that replaces the run of the collected tests by one trial a mutant."""

    def __init__(
        self,
        mutants: list[str],
        tests_of: dict[str, list[str]],
        seconds_of: dict[str, float],
        record: Callable[[str, int], None],
        *,
        children: int,
        most_seconds: float,
    ) -> None:
        self._mutants = mutants
        self._tests_of = tests_of
        self._seconds_of = seconds_of
        self._record = record
        self._tried = 0
        self._children = children
        self._most_seconds = most_seconds
        self._killers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._running: dict[int, Trial] = {}
        self._failure_is = KILLED

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try all mutants, several at a time."""
        items = {item.nodeid: item for item in session.items}
        for mutant in self._mutants:
            while len(self._running) >= self._children:
                self._wait()
            self._start(mutant, [items[name] for name in self._chosen(mutant) if name in items])
        while self._running:
            self._wait()
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In a child: the first failure ends it."""
        if report.failed:
            os.write(self._report, report.nodeid.encode())
            os._exit(self._failure_is)

    def _chosen(self, mutant: str) -> Iterator[str]:
        """Yield what reaches a mutant: what noticed others, its module's own tests, then by duration."""
        function = _function(mutant)
        module = function.rpartition(".")[0]
        noticed = self._killers[function] + self._killers[module]
        own = f"/test_{module.rpartition('.')[2]}.py:"

        def order(test: str) -> tuple[int, bool, float]:
            return -noticed[test], own not in test, self._seconds_of.get(test, 0.0)

        spent = 0.0
        for test in sorted(self._tests_of.get(function, ()), key=order):
            spent += self._seconds_of.get(test, 0.0)
            if spent <= self._most_seconds or test in noticed or own in test:
                yield test

    def _start(self, mutant: str, tests: list[pytest.Item], suspect: pytest.Item | None = None) -> None:
        if not tests and suspect is None:
            self._note(mutant, UNREACHED)
            return
        report, self._report = os.pipe()
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            self._try(mutant, tests, suspect)
        os.close(self._report)
        asked = tests if suspect is None else [suspect, suspect]
        expected = sum(self._seconds_of.get(item.nodeid, 0.0) for item in asked)
        self._running[child] = Trial(mutant, tests, suspect, report, time.monotonic() + 3 * expected + _GRACE)

    def _try(self, mutant: str, tests: list[pytest.Item], suspect: pytest.Item | None) -> None:
        """In a child: run the tests with the mutant; or one of them without it, and then with it."""
        config = (suspect or tests[0]).config
        config.pluginmanager.unregister(name="terminalreporter")
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = KILLED
        try:
            if suspect is not None:
                unchanged = os.fork()  # what this leaves behind is not there for the next
                if unchanged == 0:
                    self._failure_is = UNSOUND
                    config.hook.pytest_runtest_protocol(item=suspect, nextitem=None)
                    os._exit(SURVIVED)
                if os.waitpid(unchanged, 0)[1] != 0:
                    os._exit(UNSOUND)
                tests = [suspect]
            set_mutant_under_test(mutant)
            for item, following in zip(tests, [*tests[1:], None], strict=True):
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            code = SURVIVED
        finally:
            os._exit(code)

    def _wait(self) -> None:
        """Wait until a child has ended, or is ended for having taken too long."""
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            trial = self._running.pop(child)
            self._finish(trial, os.waitstatus_to_exitcode(status))
            return
        for child, trial in self._running.items():
            if time.monotonic() > trial.deadline:
                os.killpg(child, signal.SIGKILL)
        time.sleep(0.005)

    def _finish(self, trial: Trial, code: int) -> None:
        """Note what became of a mutant. A test that has noticed it is asked again, as it may fail by chance."""
        with os.fdopen(trial.report, "rb") as pipe:
            killer = pipe.read().decode()
        if trial.suspect is None:
            place = next((place for place, item in enumerate(trial.tests) if item.nodeid == killer), None)
            if place is None:
                self._note(trial.mutant, TIMEOUT if code == -signal.SIGKILL else code)
            else:
                self._start(trial.mutant, trial.tests[place + 1 :], trial.tests[place])
        elif code == KILLED:
            function = _function(trial.mutant)
            self._killers[function][killer] += 1
            self._killers[function.rpartition(".")[0]][killer] += 1
            self._note(trial.mutant, code, killer)
        elif trial.tests:
            self._start(trial.mutant, trial.tests)
        else:
            self._note(trial.mutant, SURVIVED)

    def _note(self, mutant: str, code: int, killer: str = "") -> None:
        self._tried += 1
        self._record(mutant, code)
        word = _WORDS.get(code, str(code))
        print(f"{self._tried}/{len(self._mutants)} {word} {mutant} {killer}", file=sys.__stderr__, flush=True)


def _function(mutant: str) -> str:
    return mutant.partition("__mutmut_")[0]
