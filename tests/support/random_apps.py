"""Random applications, and a small independent model of what must be told of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from hypothesis import strategies as st
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks

from tests.support.stage import Stage
from tests.support.story import (
    ANY,
    HTTP_EXCEPTION,
    Expectation,
    abandoned,
    dropped,
    failed,
    request_error,
    skipped,
    succeeded,
)


class Handled(Exception):
    """An error for which the application has a handler, with a task of the handler's own."""


@dataclass(frozen=True)
class Job:
    """One task: how it is called, of which kind it is, whether it fails."""

    name: str
    in_thread: bool
    fails: bool

    def function(self, stage: Stage) -> Callable[..., Any]:
        if self.in_thread:
            return (stage.fails_in_thread if self.fails else stage.works_in_thread)(self.name)
        return (stage.fails if self.fails else stage.works)(self.name)

    def task(self, stage: Stage) -> BackgroundTask:
        return BackgroundTask(self.function(stage))


ENDINGS: dict[str, tuple[Callable[[], Exception], int, str] | None] = {
    "answered": None,
    "invalid": None,
    "not found": (lambda: HTTPException(404), 404, HTTP_EXCEPTION),
    "redirected": (lambda: HTTPException(307, headers={"location": "/"}), 307, ""),
    "handled": (Handled, 418, f"{__name__}.Handled"),
    "unhandled": (lambda: KeyError("boom"), 500, "KeyError"),
}


@dataclass(frozen=True)
class Plan:
    """One route: what it schedules, where, and how its requests end."""

    in_thread: bool
    mounted: bool
    by_dependency: Sequence[Job]
    injected: Sequence[Job]
    own: Sequence[Job] | None
    nested: bool
    shared: bool
    forgotten: Sequence[Job]
    awaited: Job | None
    by_middleware: Job | None
    ending: str
    requests: int

    def expected(self, path: str) -> Iterator[Expectation]:
        """Say what must be told of one request, from the documented rules alone."""
        waiting = [*self.by_dependency]
        if self.ending == "invalid":
            yield from self._lost(waiting)
            yield request_error(422, "fastapi.exceptions.RequestValidationError", path)
            yield from self._outside(answered=True)
            return
        waiting += [*self.injected, *self.forgotten]
        if self.awaited is not None:
            yield _ran(self.awaited)
            if self.awaited.fails:
                yield from self._lost(waiting)
                yield request_error(500, "ValueError", path)
                return
        if self.ending == "answered":
            yield from self._answered()
        else:
            yield from self._lost(waiting)
            yield from self._failed(path)

    def _lost(self, jobs: Sequence[Job]) -> Iterator[Expectation]:
        return (dropped(job.name) for job in jobs)

    def _failed(self, path: str) -> Iterator[Expectation]:
        _, status, error_type = ENDINGS[self.ending]  # type: ignore[misc]
        if status >= 400:
            yield request_error(status, error_type, path)
        if self.ending == "handled":
            yield succeeded("audit")
        yield from self._outside(answered=status != 500)

    def _answered(self) -> Iterator[Expectation]:
        yield from (abandoned(job.name, "never_attached") for job in self.forgotten)
        injected = [*self.by_dependency, *self.injected]
        if self.shared:
            batch: Sequence[Job] = [SHARED]
        else:
            batch = injected if self.own is None else self.own
        if batch is not injected:
            reason = "response_replaced" if batch else ANY  # an empty batch may leave no trace
            yield from (abandoned(job.name, reason) for job in injected)
        yield from _batch(batch)
        yield from self._outside(answered=not any(job.fails for job in batch))

    def _outside(self, *, answered: bool) -> Iterator[Expectation]:
        """Tell of the middleware's task, which it makes when no error has come out of the application."""
        if answered and self.by_middleware is not None:
            yield _ran(self.by_middleware)


SHARED = Job("shared", in_thread=True, fails=False)


def _ran(job: Job) -> Expectation:
    return failed(job.name) if job.fails else succeeded(job.name)


def _batch(jobs: Sequence[Job]) -> Iterator[Expectation]:
    running = True
    for job in jobs:
        yield _ran(job) if running else skipped(job.name)
        running = running and not job.fails


class Finisher:
    """A middleware that runs a task of its own after each response, by hand."""

    def __init__(self, app: Any, stage: Stage, jobs: dict[str, Job | None]) -> None:
        self.app, self.stage, self.jobs = app, stage, jobs

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        if (job := self.jobs.get(scope.get("path", ""))) is not None:
            await job.task(self.stage)()


def path_of(number: int, plan: Plan) -> str:
    """Return the path, and route, of the plan with that number."""
    return f"/sub/r{number}" if plan.mounted else f"/r{number}"


def build(stage: Stage, plans: Sequence[Plan]) -> FastAPI:
    """Build an application with one route per plan and a mounted application."""
    app, sub = stage.fastapi(), FastAPI()
    shared = SHARED.task(stage)
    for each in (app, sub):
        each.add_exception_handler(Handled, _handler(stage))
    for number, plan in enumerate(plans):
        _add_route(sub if plan.mounted else app, f"/r{number}", plan, stage, shared=shared)
    jobs = {path_of(number, plan): plan.by_middleware for number, plan in enumerate(plans)}
    app.add_middleware(Finisher, stage=stage, jobs=jobs)
    app.mount("/sub", sub)
    return app


def _handler(stage: Stage) -> Callable[..., Any]:
    async def handler(request: Request, exc: Exception) -> JSONResponse:
        return JSONResponse({}, 418, background=BackgroundTask(stage.works("audit")))

    return handler


def _add_route(app: FastAPI, path: str, plan: Plan, stage: Stage, *, shared: BackgroundTask) -> None:
    def dependency(tasks: BackgroundTasks) -> None:
        for job in plan.by_dependency:
            tasks.add_task(job.function(stage))

    def schedule(tasks: BackgroundTasks) -> list[BackgroundTask]:
        for job in plan.injected:
            tasks.add_task(job.function(stage))
        return [job.task(stage) for job in plan.forgotten]

    def answer() -> Any:
        if (ending := ENDINGS[plan.ending]) is not None:
            raise ending[0]()
        if plan.shared:
            return JSONResponse({}, background=shared)
        if plan.own is None:
            return {}
        return JSONResponse({}, background=_background(plan, stage))

    async def endpoint(tasks: BackgroundTasks, number: int = 0) -> Any:
        _forgotten = schedule(tasks)
        if plan.awaited is not None:
            await plan.awaited.task(stage)()
        return answer()

    def endpoint_in_thread(tasks: BackgroundTasks, number: int = 0) -> Any:
        _forgotten = schedule(tasks)
        return answer()

    in_thread = plan.in_thread and plan.awaited is None
    chosen = endpoint_in_thread if in_thread else endpoint
    app.get(path, response_model=None, dependencies=[Depends(dependency)])(chosen)


def _background(plan: Plan, stage: Stage) -> BackgroundTask:
    tasks = [job.task(stage) for job in plan.own or ()]
    if not plan.nested:
        return StarletteBackgroundTasks(tasks)
    half = len(tasks) // 2
    return StarletteBackgroundTasks([StarletteBackgroundTasks(tasks[:half]), *tasks[half:]])


def plans() -> st.SearchStrategy[list[Plan]]:
    """Draw the routes of an application."""
    names = st.sampled_from(["mail", "report", "invoice"])
    job = st.builds(Job, names, st.booleans(), st.sampled_from([False, False, True]))
    jobs = st.lists(job, max_size=3)
    plan = st.builds(
        Plan,
        in_thread=st.booleans(),
        mounted=st.booleans(),
        by_dependency=jobs,
        injected=jobs,
        own=st.none() | jobs,
        nested=st.booleans(),
        shared=st.sampled_from([False, False, False, True]),
        forgotten=st.lists(job, max_size=1),
        awaited=st.none() | job,
        by_middleware=st.none() | job,
        ending=st.sampled_from(sorted(ENDINGS)),
        requests=st.integers(1, 4),
    )
    return st.lists(plan, min_size=1, max_size=4)
