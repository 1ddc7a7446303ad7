"""An application whose requests and tasks stop at gates, so that a test decides what happens next."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.background import BackgroundTask

import afterword
from tests.fire.plans import Job, Plan
from tests.fire.visits import Visit, current
from tests.support.asgi import Answer, ask, http_scope, serve, websocket_scope
from tests.support.in_process import SILENT
from tests.support.stage import named
from tests.support.waiting import SECONDS, wait_until_async


class Handled(Exception):
    """An error for which the application has a handler, whose answer has a task of its own."""


class World:
    """The application, what is in the middle of it, and what its tasks really did, by the run's id."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.visits: list[Visit] = []
        self.began: set[str] = set()
        self.deeds: dict[str, str] = {}
        self.untracked = 0
        """How many calls had no run."""
        self.kept: list[BackgroundTask] = []
        self.gates: set[asyncio.Event | threading.Event] = set()
        self.module_level = BackgroundTask(self.function(Job("audit", True, "returns", False, "module-level")))
        self.app = self._app()

    # --- what a test does ----------------------------------------------------------------------------------------

    def send(self, plan: Plan, *, with_kept: bool = False, by_websocket: bool = False) -> None:
        """Send a request or open a WebSocket, and let it go as far as it can."""
        visit = Visit(plan, self.gates)
        if with_kept:
            kept, self.kept = self.kept, []
            extra = kept
        else:
            extra = []

        async def visiting() -> Answer:
            current.set(visit)
            _extra.set(extra)
            if by_websocket:
                return await serve(self.app, websocket_scope("/socket"), visit.talk, visit.gone)
            version = {"asgi": {"version": "3.0", "spec_version": "2.4" if visit.is_told_by_error else "2.3"}}
            return await serve(self.app, http_scope(self.path(plan)) | version, visit.ask, visit.gone)

        visit.task = self.loop.create_task(visiting())
        self.visits.append(visit)
        self.settle()

    def send_from_thread(self, plan: Plan) -> None:
        """Send a request that ends by itself on an event loop of this thread."""
        current.set(Visit(plan, self.gates))
        _extra.set([])
        with contextlib.suppress(asyncio.CancelledError):
            ask(self.app, self.path(plan))

    def open_gate(self, visit: Visit) -> None:
        """Let a request go on to its next gate, or to its end."""
        gate, visit.gate = visit.gate, None
        assert gate is not None
        gate.set()
        self.settle()

    def cancel(self, visit: Visit) -> None:
        """Cancel a request at its gate. A thread cannot be stopped: it stays there."""
        visit.gate = None
        visit.task.cancel()
        self.settle()

    def disconnect(self, visit: Visit) -> None:
        """Let a client go away while its request waits at a gate. Not every gate hears of it."""
        visit.gone.set()
        if visit.hears:
            visit.gate = None
        self.settle()

    def settle(self) -> None:
        """Run the event loop until every request waits at a gate or has ended."""
        self.loop.run_until_complete(asyncio.wait_for(self._settled(), SECONDS))
        self.visits = [visit for visit in self.visits if not visit.task.done()]

    async def _settled(self) -> None:
        await asyncio.sleep(0)
        await wait_until_async(lambda: all(visit.task.done() or visit.gate for visit in self.visits))

    def close(self) -> None:
        """Let everything end."""
        while self.visits:
            self.open_gate(self.visits[0])
        self.kept.clear()
        for gate in self.gates:
            gate.set()  # of threads that outlived their requests
        self.loop.close()

    # --- the application -----------------------------------------------------------------------------------------

    @staticmethod
    def path(plan: Plan) -> str:
        """Return where a plan is carried out."""
        return "/in_thread" if plan.in_thread else "/on_loop"

    def _app(self) -> FastAPI:
        app = FastAPI(**SILENT)

        @app.get("/on_loop", response_model=None)
        async def on_loop(tasks: BackgroundTasks) -> Any:
            plan = current.get().plan
            await self._place_all(tasks, plan)
            return self._answer(tasks, plan)

        @app.get("/in_thread", response_model=None)
        def in_thread(tasks: BackgroundTasks) -> Any:
            plan = current.get().plan
            for job in plan.jobs:
                self._place(tasks, job)
            return self._answer(tasks, plan)

        @app.websocket("/socket")
        async def socket(socket: WebSocket, tasks: BackgroundTasks) -> None:
            plan = current.get().plan
            if plan.in_thread:  # accepted late, or never
                await self._place_all(tasks, plan)
                self._raise(plan)
            await socket.accept()
            if not plan.in_thread:
                await self._place_all(tasks, plan)
            if plan.ending.startswith("streamed"):
                await socket.receive_text()
                await socket.send_text("gone on")
            self._raise(plan)
            await socket.close()

        @app.exception_handler(Handled)
        async def handled(request: Any, exc: Handled) -> JSONResponse:
            job = Job("audit", False, "returns", False, "handler")
            return JSONResponse({}, 418, background=BackgroundTask(self.function(job)))

        return app

    async def _place_all(self, tasks: BackgroundTasks, plan: Plan) -> None:
        for job in plan.jobs:
            if job.placing == "awaited":
                await BackgroundTask(self.function(job))()
            else:
                self._place(tasks, job)

    def _answer(self, tasks: BackgroundTasks, plan: Plan) -> Any:
        tasks.tasks.extend(_extra.get())
        self._raise(plan)
        if plan.ending == "replaced":
            job = Job("report", False, "returns", False, "own")
            return JSONResponse({}, background=BackgroundTask(self.function(job)))
        return StreamingResponse(self._stream(current.get())) if plan.ending == "streamed" else {}

    async def _stream(self, visit: Visit) -> AsyncIterator[str]:
        yield "begun"
        await visit.wait(hears=not visit.is_told_by_error)
        yield "ended"

    @staticmethod
    def _raise(plan: Plan) -> None:
        errors = {
            "refused": HTTPException(409),
            "redirected": HTTPException(307, headers={"location": "/"}),
            "handled": Handled(),
            "broken": KeyError("boom"),
        }
        if plan.ending in errors:
            raise errors[plan.ending]

    def _place(self, tasks: BackgroundTasks, job: Job) -> None:
        function = self.function(job)
        if job.placing in ("added", "awaited"):
            tasks.add_task(function)
        elif job.placing == "removed":
            tasks.add_task(function)
            tasks.tasks.pop()
        elif job.placing == "twice":
            task = BackgroundTask(function)
            tasks.tasks += [task, task]
        elif job.placing == "nested":
            tasks.tasks.append(BackgroundTasks([BackgroundTask(function), BackgroundTask(function)]))
        elif job.placing == "merged":
            tasks.add_task(BackgroundTask(function))
        elif job.placing == "module-level":
            tasks.tasks.append(self.module_level)
        elif job.placing == "forgotten":
            BackgroundTask(function)
        elif job.placing == "kept":
            self.kept.append(BackgroundTask(function))
        else:
            calling = BackgroundTask(
                self.function(Job(job.name, False, job.ending, False, "destroyed"), stops=True)
            )()
            with contextlib.suppress(StopIteration):
                calling.send(None)
            calling.close()

    # --- its tasks -----------------------------------------------------------------------------------------------

    def function(self, job: Job, *, stops: bool = False) -> Callable[..., Any]:
        """Return what a task calls. It notes what it does under the id of its run."""

        @named(job.name)
        async def on_loop() -> Any:
            with self._noting() as note:
                if stops:
                    await _Never()
                if job.held:
                    gate = current.get().stop_at(asyncio.Event())
                    await gate.wait()
                return note(job)

        @named(job.name)
        def in_thread() -> Any:
            with self._noting() as note:
                if job.held:
                    gate = current.get().stop_at(threading.Event())
                    assert gate.wait(SECONDS)
                return note(job)

        return in_thread if job.in_thread else on_loop

    @contextlib.contextmanager
    def _noting(self) -> Any:
        run = afterword.current()
        if run is None:
            self.untracked += 1
        else:
            assert run.id not in self.began, "a run is called twice"
            self.began.add(run.id)
        deed = "cancelled"

        def note(job: Job) -> Any:
            nonlocal deed
            if job.ending == "raises":
                deed = "failed"
                raise ValueError("boom")
            # an async function may have awaited it; what a thread returns nobody will
            deed = "failed" if job.in_thread and job.ending == "returns an awaitable" else "succeeded"
            return _Never() if job.ending == "returns an awaitable" else None

        try:
            yield note
        finally:
            if run is not None:
                self.deeds[run.id] = deed


_extra: ContextVar[list[BackgroundTask]] = ContextVar("extra")


class _Never:
    def __await__(self) -> Any:
        yield None
