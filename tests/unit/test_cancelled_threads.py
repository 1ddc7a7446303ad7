"""A task in a worker thread that is cancelled: how far it had come is said."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio.to_thread
import pytest
from fastapi import BackgroundTasks

from tests.support.asgi import ask
from tests.support.in_process import InProcessStage


def cancelled_run(stage: InProcessStage, *, threads_are_taken: bool) -> Any:
    """Cancel a task, waiting for a thread or running in one; return its run."""
    go_on, is_inside = threading.Event(), threading.Event()

    def export() -> None:
        is_inside.set()
        go_on.wait(10)

    async def endpoint() -> None:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = 1
        if threads_are_taken:
            await limiter.acquire_on_behalf_of(limiter)
        tasks = BackgroundTasks()
        tasks.add_task(export)
        call = asyncio.create_task(tasks())
        if threads_are_taken:
            await asyncio.sleep(0.05)
        else:
            while not is_inside.is_set():  # noqa: ASYNC110  set by a thread
                await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        if threads_are_taken:
            limiter.release_on_behalf_of(limiter)

    assert ask(stage.app(endpoint)).status == 200
    [run] = stage.accounts.recorder.ended_runs
    assert (run.outcome, run.reason) == ("cancelled", "cancelled")
    assert run.error_type == "asyncio.exceptions.CancelledError"
    return run


def test_a_task_that_waited_for_a_thread_never_began(stage: InProcessStage):
    """A task that is cancelled while it waits for a worker thread is told so: its function never began."""
    assert "its function never began" in cancelled_run(stage, threads_are_taken=True).detail


def test_a_thread_goes_on(stage: InProcessStage):
    """A task that is cancelled while its thread runs is told so: nothing can stop the thread."""
    assert "the thread goes on" in cancelled_run(stage, threads_are_taken=False).detail
