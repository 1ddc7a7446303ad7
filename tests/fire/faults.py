"""Faults that strike one part in one transition, and an application that passes through all of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from starlette.background import BackgroundTask

from afterword._ledger.deferred import drain
from afterword._ledger.runs import Ledger
from tests.support.asgi import ask
from tests.support.stage import Odd, Stage, named
from tests.support.story import (
    HTTP_EXCEPTION,
    abandoned,
    cancelled,
    dropped,
    failed,
    request_error,
    skipped,
    succeeded,
)

OUTCOMES = ("succeeded", "failed", "cancelled", "skipped", "dropped", "abandoned")
TRANSITIONS = ("scheduled", "started", *OUTCOMES, "request_failed", "tearing_down")
KINDS = ("raises", "raises a BaseException", "returns nonsense", "is slow", "blocks")

_SECONDS = 20.0


class Fault:
    """What happens to a part in a transition; ``hits`` says how often it did."""

    def __init__(self, transition: str, kind: str, nonsense: object) -> None:
        self.transition, self.kind, self.nonsense = transition, kind, nonsense
        self.hits = 0
        self.blocked, self.go_on = threading.Event(), threading.Event()
        self._now = threading.local()

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Know which transition a thread is in."""
        names: dict[str, Callable[..., str]] = {
            "schedule": lambda *_: "scheduled",
            "start": lambda *_: "started",
            "finish": lambda run, outcome, *_: str(outcome),
            "end_unstarted": lambda run, outcome, *_: str(outcome),
            "request_failed": lambda *_: "request_failed",
            "tear_down": lambda *_: "tearing_down",
        }
        for name, transition in names.items():
            monkeypatch.setattr(Ledger, name, self._watching(getattr(Ledger, name), transition))

    def _watching(self, method: Callable[..., Any], transition: Callable[..., str]) -> Callable[..., Any]:
        def watched(ledger: Ledger, *args: Any) -> Any:
            outer = getattr(self._now, "transition", None)
            self._now.transition = transition(*args)
            try:
                return method(ledger, *args)
            finally:
                self._now.transition = outer

        return watched

    def strikes(self, function: Callable[..., Any] = lambda *_, **__: None) -> Callable[..., Any]:
        """Return a function that is struck before it does its work."""

        def struck(*args: Any, **kwargs: Any) -> Any:
            nonsense = self._strike()
            result = function(*args, **kwargs)
            return self.nonsense if nonsense else result

        return struck

    def _strike(self) -> bool:
        if getattr(self._now, "transition", None) != self.transition:
            return False
        self.hits += 1
        if self.kind == "raises":
            raise RuntimeError("struck")
        if self.kind == "raises a BaseException":
            raise Odd("struck")
        if self.kind == "is slow":
            time.sleep(0.002)
        if self.kind == "blocks" and not self.blocked.is_set():
            self.blocked.set()
            assert self.go_on.wait(_SECONDS), "nobody could go past the part that blocks"
        return self.kind == "returns nonsense"


# --- the application ----------------------------------------------------------------------------------------

TOLD = (
    *(succeeded("mail"), succeeded("thumbnail")),
    *(failed("report"), skipped("audit")),
    *(dropped("mail"), request_error(409, HTTP_EXCEPTION, "/refused")),
    abandoned("audit"),
    *(cancelled("mail"), skipped("audit", "earlier_task_cancelled")),
    cancelled("report"),
)
"""What every signal has to say of one round."""

PATHS = ("/works", "/fails", "/refused", "/forgets", "/cancelled", "/destroyed")


def build(stage: Stage) -> FastAPI:
    """Make an application that passes through every transition in one round."""
    app = stage.fastapi()

    @app.get("/works")
    async def works(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        tasks.add_task(stage.works_in_thread("thumbnail"))

    @app.get("/fails")
    def fails(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.fails("report"))
        tasks.add_task(stage.works("audit"))

    @app.get("/refused")
    async def refused(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise HTTPException(409)

    @app.get("/forgets")
    async def forgets() -> None:
        BackgroundTask(stage.works("audit"))

    @app.get("/cancelled")
    async def cancels(tasks: BackgroundTasks) -> None:
        @named("mail")
        async def mail() -> None:
            stage.did.append("mail is cancelled")
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(0)

        tasks.add_task(mail)
        tasks.add_task(stage.works("audit"))

    @app.get("/destroyed")
    async def destroys() -> None:
        @named("report")
        async def report() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                stage.did.append("report is destroyed")

        calling = BackgroundTask(report)()
        calling.send(None)
        calling.close()

    return app


def play(app: FastAPI) -> list[tuple[int | None, str, str]]:
    """Send one round of requests; return what the client and the server saw."""
    seen = []
    for path in PATHS:
        try:
            answer = ask(app, path)
        except asyncio.CancelledError:
            seen.append((None, "", "CancelledError"))
        else:
            seen.append((answer.status, answer.text, type(answer.error).__name__))
        drain()
    return seen


@contextlib.contextmanager
def blocked(fault: Fault, act: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run something in a thread, which the fault blocks until the context is left."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(act()))
    thread.start()
    try:
        assert fault.blocked.wait(_SECONDS), "the part was not reached"
        yield done
    finally:
        fault.go_on.set()
        thread.join()
