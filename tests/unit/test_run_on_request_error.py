"""Which tasks run although an exception ended their request, and what is told of those that do not."""

import asyncio
from contextlib import suppress

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.background import BackgroundTask

import afterword
from afterword._ledger import deferred
from tests.scenarios.test_interference import TimeLimit
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import answered_error, dropped, request_error, succeeded

MARK = "run_on_request_error"


class Answers:
    """Answers in the application's place with a status, or redirects, where it raised."""

    def __init__(self, app, status: int = 200) -> None:
        self.app = app
        self.status = status

    async def __call__(self, scope, receive, send) -> None:
        try:
            await self.app(scope, receive, send)
        except LookupError:
            await JSONResponse({}, self.status)(scope, receive, send)


class Retries:
    """Calls the application again where it raised, a number of times."""

    def __init__(self, app, attempts: int = 2) -> None:
        self.app = app
        self.attempts = attempts

    async def __call__(self, scope, receive, send) -> None:
        for _ in range(self.attempts - 1):
            try:
                await self.app(dict(scope), receive, send)
            except LookupError:
                continue
            return
        await self.app(scope, receive, send)


def marked(stage: InProcessStage, name: str = "audit"):
    """Make a task that asks to run on request errors."""
    return afterword.task(run_on_request_error=True)(stage.works(name))


def failing_app(stage: InProcessStage, exc: BaseException | None = None) -> FastAPI:
    """Make an application whose endpoint schedules a marked task and another one, then raises."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(marked(stage))
        tasks.add_task(stage.works("mail"))
        raise exc or LookupError("boom")

    return stage.app(endpoint)


def detail(stage: InProcessStage, event: str = "background_task.dropped") -> str:
    """Return what was told of the one run that never ran."""
    [line] = stage.lines(event)
    return str(line["detail"])


def error_page(request, exc):
    """Answer with an application of its own, and not with a ``Response``."""
    page = FastAPI()
    page.get("/")(lambda: {})
    return page


@pytest.mark.parametrize(
    ("handles", "answer"),
    [
        (LookupError, lambda request, exc: JSONResponse({})),
        (LookupError, lambda request, exc: RedirectResponse("/login", 303)),
        (LookupError, lambda request, exc: JSONResponse({}).__call__),
        (LookupError, error_page),
        (Exception, lambda request, exc: JSONResponse({})),
    ],
    ids=["200", "303", "no response", "an application", "of a server error"],
)
def test_a_marked_task_runs_behind_a_handlers_answer(stage: InProcessStage, handles, answer):
    """A handler that turns an exception into an answer below 400 fails no request; marked tasks run behind it.

    Unless it redirects, the error is told: nobody would hear of it.
    """
    app = failing_app(stage)
    app.add_exception_handler(handles, answer)
    answered = ask(app).status
    assert stage.did == ["audit"]
    told = [answered_error(200, "LookupError")] if answered == 200 else []
    stage.assert_story(succeeded("audit"), dropped("mail"), *told)


def test_a_marked_task_runs_behind_an_exception_that_redirects(stage: InProcessStage):
    """An ``HTTPException`` below 400 runs the marked tasks, too."""
    ask(failing_app(stage, HTTPException(307, headers={"location": "/login"})))
    stage.assert_story(succeeded("audit"), dropped("mail"))


def test_a_marked_task_runs_behind_a_middlewares_answer(stage: InProcessStage):
    """A middleware that makes a 200 of an exception runs the marked tasks, too."""
    app = failing_app(stage)
    app.add_middleware(Answers)
    ask(app)
    stage.assert_story(succeeded("audit"), dropped("mail"), answered_error(200, "LookupError"))


def test_a_marked_task_runs_behind_the_answer_of_a_time_limit(stage: InProcessStage):
    """A time limit whose answer is a 200 runs the marked tasks, as a 504 does."""

    class Patient(TimeLimit):
        async def __call__(self, scope, receive, send) -> None:
            async def friendly(message) -> None:
                await send(message | {"status": 200} if "status" in message else message)

            await super().__call__(scope, receive, friendly)

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(marked(stage))
        await asyncio.Event().wait()

    app = stage.app(endpoint)
    app.add_middleware(Patient)
    assert ask(app).status == 200
    stage.assert_story(succeeded("audit"))


def test_a_marked_task_of_each_failed_attempt_runs(stage: InProcessStage):
    """Where every attempt raises the very same exception, the marked tasks of each run behind the answer."""
    exc = LookupError("always the same")
    app = failing_app(stage, exc)
    app.add_exception_handler(LookupError, lambda request, exc: JSONResponse({}, 503))

    class RetriesAnswered:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            async def lose(message) -> None: ...

            await self.app(dict(scope), receive, lose)
            await self.app(scope, receive, send)

    app.add_middleware(RetriesAnswered)
    ask(app)
    assert stage.did == ["audit", "audit"]


def test_a_marked_task_of_an_attempt_that_was_made_up_for(stage: InProcessStage):
    """A later attempt that is answered by itself schedules its own tasks; the first one's are dropped, and why."""
    attempts = []

    async def endpoint(tasks: BackgroundTasks) -> None:
        attempts.append(1)
        tasks.add_task(marked(stage))
        if len(attempts) == 1:
            raise LookupError("boom")

    app = stage.app(endpoint)
    app.add_middleware(Retries)
    ask(app)
    assert stage.did == ["audit"]
    stage.assert_story(succeeded("audit"), dropped("audit"))
    assert "a later attempt" in detail(stage)
    assert MARK not in detail(stage)


def test_a_task_that_is_not_marked_is_told_how(stage: InProcessStage):
    """What was dropped without the mark is advised to have it, behind a 200, too, and the advice is true."""
    app = failing_app(stage)
    app.add_middleware(Answers)
    ask(app)
    assert "decorate it with @task(run_on_request_error=True)" in detail(stage)


@pytest.mark.parametrize("exc", [SystemExit(1), KeyboardInterrupt()], ids=["exit", "interrupt"])
def test_advice_never_repeats_what_was_done(stage: InProcessStage, exc):
    """A marked task that nothing could run is told why, and not to do what has been done."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(marked(stage))
        raise exc

    app = stage.app(endpoint)
    with suppress(SystemExit, KeyboardInterrupt):
        ask(app)
    assert [run.outcome for run in stage.ended] == ["dropped"]
    assert MARK not in detail(stage)
    assert "marked" in detail(stage)
    assert "later attempt" not in detail(stage)


def test_a_task_that_was_let_go_before_the_error_is_told_so(stage: InProcessStage):
    """No mark could have run a task whose object was gone when the request failed."""

    async def endpoint() -> None:
        BackgroundTask(stage.works("mail"))
        raise LookupError("boom")

    ask(stage.app(endpoint))
    assert [run.outcome for run in stage.ended] == ["dropped"]
    assert MARK not in detail(stage)
    assert "nothing held the task" in detail(stage)


def test_a_response_that_broke_off_is_not_said_never_to_have_been_built(stage: InProcessStage):
    """Where a stream raised midway, the detail says that the response broke off."""

    async def endpoint(tasks: BackgroundTasks) -> StreamingResponse:
        async def body():
            yield b"begun"
            raise LookupError("boom")

        tasks.add_task(stage.works("mail"))
        return StreamingResponse(body())

    ask(stage.app(endpoint))
    stage.assert_story(dropped("mail"), request_error(200, "LookupError"))
    assert "the response broke off with LookupError" in detail(stage)
    assert "it is marked" not in detail(stage)
    assert "never built" not in detail(stage)


def test_an_error_behind_the_whole_response_is_told_as_one(stage: InProcessStage):
    """Where a middleware raised behind the response, the detail does not say that this was not built."""

    class RaisesBehind:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            await self.app(scope, receive, send)
            raise LookupError("boom")

    kept = []

    async def endpoint() -> None:
        kept.append(BackgroundTask(stage.works("mail")))

    app = stage.app(endpoint)
    app.add_middleware(RaisesBehind)
    ask(app)
    kept.clear()
    deferred.drain()
    assert [run.outcome for run in stage.ended] == ["dropped"]
    assert "after its response" in detail(stage)
    assert "never built" not in detail(stage)


def test_a_marked_task_that_runs_already(stage: InProcessStage):
    """A task that an endpoint has started beside itself is not run once more when that fails; later ones are."""
    began, ends = asyncio.Event(), asyncio.Event()
    beside: list[asyncio.Task] = []

    @afterword.task(run_on_request_error=True)
    @named("audit")
    async def audit() -> None:
        stage.did.append("audit")
        began.set()
        await ends.wait()

    async def endpoint(tasks: BackgroundTasks) -> None:
        beside.append(asyncio.create_task(BackgroundTask(audit)()))
        await began.wait()
        tasks.add_task(afterword.task(run_on_request_error=True)(stage.works("report")))
        raise LookupError("boom")

    async def scenario() -> None:
        await call(stage.app(endpoint))
        ends.set()
        await beside.pop()

    asyncio.run(scenario())
    assert stage.did == ["audit", "report"]
    stage.assert_story(succeeded("audit"), succeeded("report"), request_error(500, "LookupError"))
