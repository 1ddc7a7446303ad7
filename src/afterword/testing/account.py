"""What a test asks: what became of one task and of all, and whether all ran."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .._common.model import Outcome, TaskRun
from .._ledger.deferred import drain
from . import lookup, report
from .counts import Counts
from .expectations import Expectations
from .recorder import Recorder, RequestError

_PATIENCE = 5.0


class TaskAccount(Counts):
    """The account of one task; it goes on counting while the test does."""

    def __init__(self, recorder: Recorder, functions: set[str]) -> None:
        super().__init__(recorder)
        self._functions = functions

    @property
    def runs(self) -> list[TaskRun]:
        """Its runs, in the order in which they were scheduled."""
        return [run for run in _settled(self._recorder) if run.function in self._functions]

    def _absence(self) -> str:
        return lookup.not_scheduled(self._name, self._recorder.runs)

    @property
    def _name(self) -> str:
        return ", ".join(sorted(self._functions))

    def __repr__(self) -> str:
        return f"<{self._name}: {report.tally(self.runs)}>"


class Account(Counts):
    """The account of every background task that was scheduled since it was opened, in whichever application.

    ``account["send_mail"]`` is the account of one task, looked up by the short name of its function, by
    ``module.qualname``, by the name that ``@task(name=...)`` gave, or by the function itself. A name that nothing
    was scheduled by raises ``UnknownTask``, a ``KeyError``; a function that was not scheduled has zeros. A short
    name that several tasks share raises ``AmbiguousTask``.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._expected = Expectations()

    @property
    def runs(self) -> list[TaskRun]:
        """All runs, in the order in which they were scheduled."""
        return _settled(self._recorder)

    @property
    def request_errors(self) -> list[RequestError]:
        """The requests that failed or were answered by an exception, in order; a 4xx is among them."""
        return list(self._recorder.request_errors)

    def __getitem__(self, task: str | Callable[..., Any]) -> TaskAccount:
        """Return the account of one task."""
        __tracebackhide__ = True
        return TaskAccount(self._recorder, lookup.functions(task, self._recorder.runs))

    def __contains__(self, task: str | Callable[..., Any]) -> bool:
        """Return whether a task was scheduled."""
        if isinstance(task, str):
            return bool(lookup.matching(task, self._recorder.runs))
        return bool(self[task].scheduled)

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the tasks that were scheduled."""
        return iter(lookup.scheduled_names(self._recorder.runs))

    def wait(self, timeout: float = _PATIENCE) -> bool:
        """Wait until no run is pending or running; return whether that came true.

        For a server in another thread, whose tasks go on when the client has its answer. ``TestClient`` and
        ``httpx.ASGITransport`` have waited for the tasks themselves. It blocks: where the tasks run on the event
        loop of the test, await them first.

        Args:
            timeout: seconds to wait at most.
        """
        deadline, pause = time.monotonic() + timeout, 0.005
        while any(run.outcome is None for run in _settled(self._recorder)):
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        return True

    def expect(self, outcomes: Mapping[Any, Outcome | str] | None = None, /, **named: Outcome | str) -> None:
        """Expect tasks to come to an outcome: ``account.expect(send_mail="dropped", write_audit_row="skipped")``.

        The assertions of this account then accept the runs of that task that come to it, and no others, and they
        demand that there is one. Say it before or after the request; where a rule of the suite asserts at the end
        of every test, nothing else is to be said.

        Args:
            outcomes: by what ``account[...]`` takes: a full name or the function itself.
            named: by short names.

        Raises:
            TypeError: what is expected to come to something is neither a name nor a function.
            ValueError: what it is expected to come to is no outcome.
        """
        __tracebackhide__ = True
        self._expected.add({**(outcomes or {}), **named})

    def assert_all_succeeded(self, timeout: float = _PATIENCE) -> None:
        """Assert that every scheduled task ran and returned, but for those that ``expect`` named.

        A test without any task passes; say ``account["send_mail"].succeeded == 1`` of those that there must be.

        Args:
            timeout: seconds to wait, as ``wait`` does, for runs that are pending or running.

        Raises:
            AssertionError: a task did not succeed, a pending or running one included, or did not come to what
                was expected of it; the message tells of each what happened and why.
        """
        __tracebackhide__ = True
        self._assert(lambda run: run.outcome is Outcome.SUCCEEDED, "did not succeed", timeout)

    def assert_all_ran(self, timeout: float = _PATIENCE) -> None:
        """Assert that every scheduled task ran, whether it succeeded, failed or was cancelled.

        What a whole suite may demand of every test, also of those that make a task fail. A test in which a task
        does not run says so by ``expect``.

        Args:
            timeout: seconds to wait, as ``wait`` does, for runs that are pending or running.

        Raises:
            AssertionError: a task never ran (skipped, dropped, abandoned, or still pending), or did not come to
                what was expected of it; the message tells of each what happened and why.
        """
        __tracebackhide__ = True
        self._assert(lambda run: run.started, "never ran", timeout)

    def _assert(self, is_right: Callable[[TaskRun], bool], complaint: str, timeout: float) -> None:
        __tracebackhide__ = True
        has_waited = "" if self.wait(timeout) else f" within {timeout:g} s{_of_this_loop()}"
        runs = self.runs
        expected = self._expected.met_by(runs)
        wrong = {run for run in runs if not is_right(run)} - expected
        complaints = self._expected.unmet(runs)
        if wrong:
            complaints.append(f"{len(wrong)} of {report.tasks(len(runs))} {complaint}{has_waited}:")
        if complaints:
            told = report.tell(self._recorder, runs, lambda run: run in wrong)
            raise AssertionError("\n".join([*complaints, "", *told]))

    def _absence(self) -> str:
        return "no background task was scheduled"

    def __str__(self) -> str:
        return "\n".join(self._story(self.runs))

    def __repr__(self) -> str:
        return f"<account: {report.tally(self.runs)}>"


def _of_this_loop() -> str:
    """Say what waiting has done to a test that is a coroutine, whose tasks may run on its own event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return ""
    return ", while the event loop of this test stood still; await its tasks first"


def _settled(recorder: Recorder) -> list[TaskRun]:
    """Return the runs, after looking for those that wait for the end of an object that is dead already."""
    drain()
    if any(run.outcome is None and not run.started for run in recorder.runs):
        gc.collect()
        drain()
    return list(recorder.runs)
