"""Whoever is told of what becomes of the runs: the signals, the journal, and what the user passes."""

from __future__ import annotations

from .model import RequestInfo, TaskRun


class TaskObserver:
    """Called for every transition of every run. Override the methods you need.

    Methods are called synchronously, so keep them quick: the caller of ``add_task`` waits for ``scheduled``, and
    the batch waits for ``started`` and ``ended``, and the event loop with it. Each method is called at most once
    per run. If an observer raises, the error is logged once and counted, and neither the task nor the other
    observers are affected. Only ``KeyboardInterrupt`` and ``SystemExit`` pass, because they end the process. Tasks
    that an observer schedules are not tracked.
    """

    def scheduled(self, run: TaskRun) -> None:
        """A run was scheduled.

        Called once for every run, inside ``add_task`` or ``BackgroundTask(...)`` and in the calling thread, which
        is a worker thread for a ``def`` endpoint.
        """

    def started(self, run: TaskRun) -> None:
        """A run starts.

        Called for a run that will succeed, fail or be cancelled, on the event loop's thread and in the task's own
        context: just before the function is called, or before a ``def`` function waits for its thread.
        """

    def ended(self, run: TaskRun) -> None:
        """A run ended; ``run.outcome`` says how.

        Called once for every run. For a run that started (``succeeded``, ``failed``, ``cancelled``): on the event
        loop's thread, when the function has ended, before ``on_task_failure`` and before the next task of the
        batch. For a run that never started (``skipped``, ``dropped``, ``abandoned``): right after the earlier task
        that stopped the batch, or at the end of the request. For an abandoned task or a destroyed coroutine,
        which are noticed only when the object is collected: within seconds, in any thread.
        """

    def returned(self, run: TaskRun) -> None:
        """An attempt of a queue's task ended without ending the task; ``run.reason`` says why.

        Called once for such an attempt, in the worker's main process, instead of ``ended``: it was retried, put
        back into the queue, or taken away. Starlette's tasks have one attempt.
        """

    def request_failed(self, info: RequestInfo, exc: BaseException) -> None:
        """A request failed, or was answered by an exception (including a 4xx).

        Called once per error, on the event loop's thread: after the error response was sent, or at the end of the
        request if there is none. If a handler or a middleware raised while it handled another error, ``exc`` is
        the exception it raised, because that determines the response. ``on_request_error`` is called next.
        """

    def error_answered(self, info: RequestInfo, exc: BaseException) -> None:
        """A handler or a middleware answered an exception with a 2xx: it failed no request.

        Called in place of ``request_failed``, once per error and at the same moment. ``info.status`` is the status
        that was sent, and ``info.dropped`` says whether the error kept tasks from running.
        """

    def tearing_down(self, run: TaskRun) -> None:
        """A running task's coroutine is being destroyed, perhaps by the garbage collector.

        This thread may already hold any lock, so take none. ``ended`` is called later, elsewhere.
        """

    def observer_failed(self, observer: str) -> None:
        """An observer raised; ``observer`` is the name of its class."""


class QueueObserver(TaskObserver):
    """An observer of ours that is told more: that a message was sent, and what a worker holds."""

    def sent(self, run: TaskRun) -> None:
        """The message of a task, or of its next attempt, is with the broker."""

    def published(self, run: TaskRun) -> None:
        """A publish is over, sent or failed; ``run._publish_time`` says how long it took."""

    def handed_over(self, run: TaskRun) -> None:
        """Another process tells how an attempt ended that began here."""

    def received(self, run: TaskRun) -> None:
        """A worker received the message of an attempt."""

    def acknowledged(self, run: TaskRun) -> None:
        """The message of an attempt that has begun is about to be acknowledged, or is: nobody runs it again."""

    def let_go(self, run: TaskRun) -> None:
        """A worker holds an attempt no longer, and nothing became of it: the message is the broker's again."""
