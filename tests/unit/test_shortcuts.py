"""Where the short way of a task does not apply: other tools' patches, odd tasks, batches and middleware."""

import asyncio
import functools
import gc
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import BackgroundTasks
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as Batch
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

import afterword
from afterword import TaskObserver, TaskRun
from afterword._ledger.deferred import drain
from afterword._ledger.instrumentation import Instrumentation, Settings
from afterword._ledger.runs import Ledger
from afterword._signals.traces import Traces
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage
from tests.support.stage import named
from tests.support.story import abandoned, failed, skipped, succeeded

REMOVED: list[BackgroundTask] = []
"""Tasks that were taken out of their batch; not in a member's closure, through which it could call them."""


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the methods back that a test patches in another tool's name."""
    methods = [
        (cls, name, cls.__dict__[name]) for cls, name in ((BackgroundTask, "__call__"), (Batch, "add_task"))
    ]
    yield
    for cls, name, method in methods:
        setattr(cls, name, method)


# --- another tool's patch beneath ours --------------------------------------------------------------------------


def test_a_wrapper_beneath_that_uses_only_its_own_variables(stage: InProcessStage, restored: None):
    """Another tool's wrapper that looks like Starlette's method, and uses no names, is called all the same."""
    below, seen = BackgroundTask.__call__, []
    note = seen.append

    @functools.wraps(below)
    async def wrapper(self: BackgroundTask) -> None:
        note(self.func)
        await below(self)

    BackgroundTask.__call__ = wrapper
    mail = stage.works("mail")
    ask(stage.app_with(mail))
    assert [getattr(func, "__name__", None) for func in seen] == [mail.__name__]
    stage.assert_story(succeeded("mail"))


def test_an_add_task_beneath_that_adds_nothing(stage: InProcessStage, restored: None):
    """Another tool's add_task that keeps the task for itself raises no error of ours, and may call it later."""
    kept: list[BackgroundTask] = []

    def add_task(self: BackgroundTasks, func: Callable[..., Any], *args: Any) -> None:
        kept.append(BackgroundTask(func, *args))

    Batch.add_task = add_task  # type: ignore[method-assign,assignment]
    assert ask(stage.app_with(stage.works("mail"))).status == 200
    assert stage.did == []
    asyncio.run(kept[0]())
    stage.assert_story(succeeded("mail"))


class Bag:
    """What can be appended to and walked, and nothing else."""

    def __init__(self) -> None:
        self.kept: list[BackgroundTask] = []

    def append(self, task: BackgroundTask) -> None:
        self.kept.append(task)

    def __iter__(self) -> Iterator[BackgroundTask]:
        return iter(self.kept)


class LastFirst(list[BackgroundTask]):
    """A list that puts new tasks in front."""

    def append(self, task: BackgroundTask) -> None:
        self.insert(0, task)


@pytest.mark.parametrize("container", [deque, Bag, LastFirst])
def test_tasks_kept_in_another_container(stage: InProcessStage, container: type):
    """Whatever the user keeps a batch's tasks in, they are added and run, and belong to the batch."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.tasks = container()
        background.add_task(stage.works("mail"))
        background.add_task(stage.works("report"))

    assert ask(stage.app(endpoint)).status == 200
    assert sorted(stage.did) == ["mail", "report"]
    stage.assert_story(succeeded("mail"), succeeded("report"))


def test_a_task_that_is_twice_in_another_container(stage: InProcessStage):
    """A failing task that an odd container has twice fails once, and is skipped once, as in a list."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.tasks = deque()  # type: ignore[assignment]
        background.add_task(stage.fails("mail"))
        background.tasks.append(background.tasks[0])

    ask(stage.app(endpoint))
    stage.assert_story(failed("mail"), skipped("mail"))


def test_tasks_that_can_be_walked_once(stage: InProcessStage):
    """A batch whose tasks are an iterator runs them, as without us."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.tasks = iter([BackgroundTask(stage.works("mail")), BackgroundTask(stage.works("report"))])

    assert ask(stage.app(endpoint)).status == 200
    assert stage.did == ["mail", "report"]
    stage.assert_story(succeeded("mail"), succeeded("report"))


# --- odd tasks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attribute", ["args", "kwargs", "is_async"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_task_that_lacks_an_attribute(stage: InProcessStage, attribute: str, is_async: bool):
    """A task without one of its attributes fails by the same error as without us, and says so."""

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task((stage.works if is_async else stage.works_in_thread)("mail"))
        delattr(background.tasks[0], attribute)

    answer = ask(stage.app(endpoint))
    assert isinstance(answer.error, AttributeError)
    assert attribute in str(answer.error)
    stage.assert_story(failed("mail", "AttributeError"))


@pytest.mark.parametrize("result", [None, 1])
def test_a_task_that_lets_its_function_go(stage: InProcessStage, result: int | None):
    """A function that takes itself off its task has succeeded when it returns."""
    held: list[BackgroundTask] = []

    @named("mail")
    async def mail() -> int | None:
        del held[0].func, held[0].args, held[0].kwargs, held[0].is_async
        return result

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(mail)
        held.append(background.tasks[0])

    assert ask(stage.app(endpoint)).error is None
    stage.assert_story(succeeded("mail"))


def test_a_changed_is_async(stage: InProcessStage):
    """A task whose is_async the user turned on for a function that returns a coroutine is awaited."""
    mail = stage.works("mail")

    def start() -> Any:
        return mail()

    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(start)
        background.tasks[0].is_async = True

    assert ask(stage.app(endpoint)).error is None
    assert stage.did == ["mail"]
    assert [outcome for _, outcome in stage.outcomes] == ["succeeded"]


def test_a_task_that_is_initialised_twice(stage: InProcessStage):
    """A task whose __init__ runs twice ends each run that was opened."""

    class Twice(BackgroundTask):
        def __init__(self, func: Callable[..., Any]) -> None:
            super().__init__(func)
            super().__init__(func)

    async def endpoint() -> JSONResponse:
        return JSONResponse({}, background=Twice(stage.works("mail")))

    assert ask(stage.app(endpoint)).error is None
    assert stage.did == ["mail"]


def test_a_qualified_name_that_is_no_plain_text(stage: InProcessStage):
    """A function whose qualified name fails when it is looked at is tracked all the same."""

    class Text(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise RuntimeError("no hash")

    mail = stage.works("mail")

    async def work() -> None:
        await mail()

    work.__qualname__ = Text("work")
    assert ask(stage.app_with(work)).error is None
    assert [outcome for _, outcome in stage.outcomes] == ["succeeded"]
    assert stage.observer_errors("afterword") in (None, 0)


def test_one_task_called_at_once_by_several(stage: InProcessStage):
    """One task that is called several times at once has a run for each call."""

    async def work() -> None:
        await asyncio.sleep(0)

    async def endpoint() -> None:
        task = BackgroundTask(work)
        await asyncio.gather(task(), task(), task())

    assert ask(stage.app(endpoint)).status == 200
    assert [outcome for _, outcome in stage.outcomes] == ["succeeded"] * 3


def test_a_task_called_in_another_loop(stage: InProcessStage):
    """A task that threads call at once in loops of their own has a run for each call."""

    async def work() -> None:
        await asyncio.sleep(0)

    async def endpoint() -> None:
        task = BackgroundTask(work)
        await asyncio.gather(*[asyncio.to_thread(asyncio.run, task()) for _ in range(4)])

    assert ask(stage.app(endpoint)).status == 200
    assert [outcome for _, outcome in stage.outcomes] == ["succeeded"] * 4


# --- batches ----------------------------------------------------------------------------------------------------


def test_called_by_hand_within_its_batch(stage: InProcessStage):
    """A member that an earlier one calls by hand runs again in its turn, and is counted twice."""

    async def endpoint(background: BackgroundTasks) -> None:
        async def first() -> None:
            await background.tasks[1]()

        background.add_task(first)
        background.add_task(stage.works("mail"))

    ask(stage.app(endpoint))
    assert stage.did == ["mail", "mail"]
    assert stage.outcomes.count(("mail", "succeeded")) == 2
    assert len(stage.outcomes) == 3


@pytest.mark.parametrize("later", [False, True])
def test_members_removed_by_a_member(stage: InProcessStage, later: bool):
    """Members that an earlier one takes out are told as removed, also of a batch that is run after its request."""
    held: list[BackgroundTasks] = []

    async def endpoint() -> JSONResponse:
        tasks = BackgroundTasks()

        @named("first")
        async def first() -> None:
            REMOVED.append(tasks.tasks.pop())

        tasks.add_task(first)
        tasks.add_task(stage.works("mail"))
        if later:
            held.append(tasks)
            return JSONResponse({})
        return JSONResponse({}, background=tasks)

    async def use() -> None:
        await call(app)
        while held:
            await held.pop()()

    app = stage.app(endpoint)
    asyncio.run(use())
    gc.collect()
    REMOVED.clear()
    drain()
    stage.assert_story(succeeded("first"), abandoned("mail", "removed"))


def test_a_list_replaced_by_a_member(stage: InProcessStage):
    """A list that a member replaces goes on being walked, and its members have their outcome."""

    async def endpoint(background: BackgroundTasks) -> None:
        async def first() -> None:
            background.tasks = [BackgroundTask(stage.works("never"))]

        background.add_task(first)
        background.add_task(stage.fails("mail"))
        background.add_task(stage.works("report"))

    ask(stage.app(endpoint))
    assert stage.did == ["mail fails"]
    assert len(stage.outcomes) == 4, stage.outcomes


def test_a_batch_kept_for_several_requests(stage: InProcessStage):
    """A batch that the first request made and all share runs for each of them at once."""
    shared: list[BackgroundTasks] = []

    async def wait() -> None:
        await asyncio.sleep(0)

    async def endpoint() -> JSONResponse:
        if not shared:
            tasks = BackgroundTasks()
            tasks.add_task(wait)
            tasks.add_task(stage.works("mail"))
            shared.append(tasks)
        return JSONResponse({}, background=shared[0])

    app = stage.app(endpoint)

    async def visit() -> None:
        await asyncio.gather(call(app), call(app), call(app))

    asyncio.run(visit())
    assert stage.did == ["mail"] * 3
    assert len(stage.outcomes) == 6


def test_a_failing_batch_kept_for_several_requests(stage: InProcessStage):
    """A shared batch that fails skips the rest for each request."""
    shared: list[BackgroundTasks] = []

    async def wait() -> None:
        await asyncio.sleep(0)
        raise ValueError

    async def endpoint() -> JSONResponse:
        if not shared:
            tasks = BackgroundTasks()
            tasks.add_task(wait)
            tasks.add_task(stage.works("mail"))
            shared.append(tasks)
        return JSONResponse({}, background=shared[0])

    app = stage.app(endpoint)

    async def visit() -> None:
        await asyncio.gather(call(app), call(app), call(app), return_exceptions=True)

    asyncio.run(visit())
    assert stage.did == []
    assert [o for _, o in stage.outcomes].count("failed") == 3
    print(stage.outcomes)


# --- middleware -------------------------------------------------------------------------------------------------


def test_a_middleware_whose_class_has_no_module(stage: InProcessStage):
    """A middleware whose class tells no module is passed as any other."""

    class Odd:
        __module__ = None  # type: ignore[assignment]

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, *args: Any) -> None:
            await self.app(*args)

    app = stage.fastapi()

    @app.get("/")
    async def endpoint(background: BackgroundTasks) -> None:
        background.add_task(stage.works("mail"))

    app.add_middleware(Odd)
    stage.instrument(app)
    assert [ask(app).status, ask(app).status] == [200, 200]
    stage.assert_story(succeeded("mail"), succeeded("mail"))


def test_a_middleware_made_of_another_one_in_a_request(stage: InProcessStage):
    """A ServerErrorMiddleware that is made in a request, with the handler of another one, reports once."""
    made: list[ServerErrorMiddleware] = []
    told: list[BaseException] = []

    class Making:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, *args: Any) -> None:
            made.append(ServerErrorMiddleware(self.app, handler=app.middleware_stack.handler))
            await made[-1](*args)

    async def handler(request: Any, exc: Exception) -> JSONResponse:
        return JSONResponse({}, status_code=500)

    app = stage.fastapi()

    @app.get("/")
    async def endpoint() -> None:
        raise ValueError

    app.add_exception_handler(Exception, handler)
    app.add_middleware(Making)
    stage.instrument(app, traces=False, on_request_error=[lambda _, exc: told.append(exc)])
    assert ask(app).status == 500
    assert len(told) == 1
    assert not isinstance(made[0].handler.handler, type(made[0].handler))
    assert app.middleware_stack.handler is handler  # outside of any request it is the user's own


def test_deleting_the_handler(stage: InProcessStage):
    """A handler can be taken off a ServerErrorMiddleware, as without us."""
    stage.app()
    middleware = ServerErrorMiddleware(None)  # type: ignore[arg-type]
    del middleware.handler
    assert not hasattr(middleware, "handler")


def test_uninstrumented_while_a_task_runs(stage: InProcessStage):
    """An application that is uninstrumented while its tasks run has their outcomes, and the hooks go."""
    app = None

    async def stop() -> None:
        afterword.uninstrument(app)

    app = stage.app_with(stop, stage.works("mail"))
    assert ask(app).status == 200
    assert stage.did == ["mail"]
    assert [outcome for _, outcome in stage.outcomes] == ["succeeded"] * 2


# --- threads ----------------------------------------------------------------------------------------------------


def test_two_requests_that_schedule_at_once(stage: InProcessStage):
    """A thread that schedules while another one does leaves each run with the span of its own request."""
    traces = Traces(lambda _: None)

    def scheduled(context: Context) -> TaskRun:
        run = TaskRun("mail", "mail", None, 0, is_async=True)
        run._around = context
        traces.scheduled(run)
        return run

    class Interrupted(NonRecordingSpan):
        """A span that lets another thread have its turn."""

        def get_span_context(self) -> SpanContext:
            if not others:
                others.append(scheduled(theirs))
            return super().get_span_context()

    others: list[TaskRun] = []
    theirs = set_span_in_context(NonRecordingSpan(SpanContext(1, 1, False)), Context())
    ours = set_span_in_context(Interrupted(SpanContext(2, 2, False)), Context())
    runs = [scheduled(ours), scheduled(theirs), scheduled(ours)]
    assert [int(run.trace_id or "0", 16) for run in [*runs, *others]] == [2, 1, 2, 1]


def test_a_late_observer_joins_once():
    """Two threads that find at once that it is time for an observer let it join once."""
    instrumentation = Instrumentation(Settings(), Ledger())
    observer = TaskObserver()

    def is_time() -> bool:
        if not asked:
            asked.append(True)
            instrumentation.let_join()  # another thread's turn
        return True

    asked: list[bool] = []
    instrumentation.late = observer, is_time
    instrumentation.let_join()
    assert instrumentation.ledger.observers.count(observer) == 1
