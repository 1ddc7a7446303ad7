"""The account that a test asserts on: the outcomes of one task and of all tasks."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .._common.model import STARLETTE, Outcome, TaskRun
from .._ledger.deferred import drain
from . import _lookup as lookup
from . import _report as report
from ._counts import Counts
from ._expectations import Expectations
from ._recorder import Recorder, RequestError, is_with_broker

_PATIENCE = 5.0


class TaskAccount(Counts):
    """The account of one task. It keeps counting while the test runs."""

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
    """The account of every background task scheduled since it was opened, in any application, Celery's included.

    ``account["send_mail"]`` is the account of one task. Look it up by the short name of its function, by
    ``module.qualname``, by the name from ``@task(name=...)``, or by the function itself. A name that was never
    scheduled raises ``UnknownTask``, a ``KeyError``; a function that was never scheduled has zeros. A short name
    that several tasks share raises ``AmbiguousTask``.
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
        """The requests that failed or were answered by an exception, including a 4xx, in order."""
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
        """Iterate over the names of the scheduled tasks."""
        return iter(lookup.scheduled_names(self._recorder.runs))

    def wait(self, timeout: float = _PATIENCE) -> bool:
        """Wait until no run is pending or running; return false if the timeout passed first.

        For a server in another thread, whose tasks continue after the client has its response. ``TestClient`` and
        ``httpx.ASGITransport`` wait for tasks themselves. This call blocks: if the tasks run on the test's own
        event loop, await them first. What is only published to Celery is not waited for.

        Args:
            timeout: seconds to wait at most.
        """
        deadline, pause = time.monotonic() + timeout, 0.005
        while any(run.outcome is None and not is_with_broker(run) for run in _settled(self._recorder)):
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
        return True

    def expect(self, outcomes: Mapping[Any, Outcome | str] | None = None, /, **named: Outcome | str) -> None:
        """Expect tasks to come to an outcome: ``account.expect(send_mail="dropped", write_audit_row="skipped")``.

        The assertions of this account then accept runs of that task with that outcome, and no others, and require
        at least one. Call it before or after the request. If a fixture asserts at the end of every test, that is
        all you need.

        Args:
            outcomes: the outcome for each full name or function, as ``account[...]`` accepts them.
            named: the outcome for each short name.

        Raises:
            TypeError: a task is neither a name nor a function.
            ValueError: an outcome is not valid.
        """
        __tracebackhide__ = True
        self._expected.add({**(outcomes or {}), **named})

    def assert_all_succeeded(self, timeout: float = _PATIENCE) -> None:
        """Assert that every scheduled task succeeded, except for those passed to ``expect``.

        A test without any task passes. To require one, assert ``account["send_mail"].succeeded == 1``. A Celery
        task that is only published, and not received by a worker in this process, is neither right nor wrong:
        assert its ``published``.

        Args:
            timeout: seconds to wait, as ``wait`` does, for runs that are pending or running.

        Raises:
            AssertionError: a task did not succeed (or is still pending or running), or did not have its expected
                outcome. The message says what happened to each, and why.
        """
        __tracebackhide__ = True
        self._assert(lambda run: run.outcome is Outcome.SUCCEEDED, "did not succeed", timeout)

    def assert_all_ran(self, timeout: float = _PATIENCE) -> None:
        """Assert that every scheduled task ran, whether it succeeded, failed or was cancelled.

        A Celery task that is only published counts as in ``assert_all_succeeded``. A rule for every test of a
        suite, including those that make a task fail. If a task does not run in a test,
        pass it to ``expect``.

        Args:
            timeout: seconds to wait, as ``wait`` does, for runs that are pending or running.

        Raises:
            AssertionError: a task never ran (skipped, dropped, abandoned, or still pending), or did not have its
                expected outcome. The message says what happened to each, and why.
        """
        __tracebackhide__ = True
        self._assert(lambda run: run.started, "never ran", timeout)

    def _assert(self, is_right: Callable[[TaskRun], bool], complaint: str, timeout: float) -> None:
        __tracebackhide__ = True
        has_waited = "" if self.wait(timeout) else f" within {timeout:g} s{_of_this_loop()}"
        runs = self.runs
        expected = self._expected.met_by(runs)
        wrong = {run for run in runs if not is_right(run) and not is_with_broker(run)} - expected
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
    """Explain a timeout in an async test, whose tasks may run on the event loop that it blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return ""
    return ", while the event loop of this test stood still; await its tasks first"


def _settled(recorder: Recorder) -> list[TaskRun]:
    """Return the runs, after ending those whose objects are already unreachable."""
    drain()
    if any(run.outcome is None and not run.started and run.engine == STARLETTE for run in recorder.runs):
        gc.collect()
        drain()
    return list(recorder.runs)
