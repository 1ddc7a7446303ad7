"""Whatever a user's function takes as a keyword reaches it, by whichever of our functions it passes."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from fastapi import BackgroundTasks
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarlettesTasks
from starlette.responses import PlainTextResponse

import afterword
from afterword._starlette import batch as batches
from afterword._starlette import execution as calls
from afterword._starlette import patches as hooks
from afterword._starlette import patching as patch
from afterword._starlette import scheduling as births
from afterword._starlette import task_proxy as probe
from tests.support.asgi import ask, call
from tests.support.in_process import InProcessStage, plain_app


def names_of_ours() -> set[str]:
    """Return the names of all parameters and variables in the modules that a user's arguments pass through."""
    found: set[str] = set()
    waiting = [inspect.getsource(module) for module in (batches, births, calls, hooks, patch, probe)]
    codes = [compile(source, "ours", "exec") for source in waiting]
    while codes:
        code = codes.pop()
        found.update(code.co_varnames, code.co_cellvars, code.co_freevars)
        codes += [constant for constant in code.co_consts if inspect.iscode(constant)]
    return {name for name in found if name.isidentifier()}


# what Starlette itself refuses is among them: it must be refused in the same words
KEYWORDS = sorted({*names_of_ours(), "add_task", "batch", "func", "original", "self", "tasks"})


class Own(BackgroundTask):
    """A subclass that sets its attributes itself, as it may: no name is refused."""

    def __init__(self, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
        super().__init__(function)
        self.kwargs = keywords


def add_injected(tasks: BackgroundTasks, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Add a task to the injected batch."""
    tasks.add_task(function, "one", **keywords)


def add_by_keyword(tasks: BackgroundTasks, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Name the function by its keyword, too."""
    tasks.add_task(**(keywords | {"func": function}))


def add_starlettes(tasks: BackgroundTasks, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Add a task to a batch of Starlette's own class."""
    inner = StarlettesTasks()
    inner.add_task(function, "one", **keywords)
    tasks.tasks += inner.tasks


def add_made(tasks: BackgroundTasks, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Make the task by hand."""
    tasks.tasks.append(BackgroundTask(function, "one", **keywords))


def add_own(tasks: BackgroundTasks, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Make a task of a subclass."""
    tasks.tasks.append(Own(function, keywords))


def add_partial(tasks: BackgroundTasks, function: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Bind the keyword beforehand."""
    tasks.add_task(functools.partial(function, **keywords), "one")


WAYS = [add_injected, add_by_keyword, add_starlettes, add_made, add_own, add_partial]


def visited(stage: InProcessStage, way: Callable[..., None], kind: str, *, instrumented: bool) -> list[Any]:
    """Schedule the same function once with every keyword; return what arrived, and what was refused."""
    told: list[Any] = []

    def takes_all(*args: Any, **keywords: Any) -> None:
        told.append((args, keywords))

    async def takes_all_on_loop(*args: Any, **keywords: Any) -> None:
        takes_all(*args, **keywords)

    function = takes_all if kind == "thread" else takes_all_on_loop

    async def endpoint(keyword: str, tasks: BackgroundTasks) -> None:
        try:
            way(tasks, function, {keyword: 1})
        except TypeError as exc:
            told.append((keyword, str(exc)))

    app = stage.fastapi()
    app.get("/{keyword}")(endpoint)
    if instrumented:
        stage.instrument(app, metrics_path=None)

    async def ask_for_all() -> None:
        for keyword in KEYWORDS:
            answer = await call(app, f"/{keyword}")
            told.append((answer.status, repr(answer.error)))

    asyncio.run(ask_for_all())
    return told


@contextmanager
def patched_by_another_tool() -> Iterator[None]:
    """Let another tool have patched the call of a task: then a stand-in of ours resembles the task."""
    original = BackgroundTask.__call__

    async def __call__(self: Any) -> None:
        await original(self)

    BackgroundTask.__call__ = __call__
    try:
        yield
    finally:
        BackgroundTask.__call__ = original


@pytest.mark.parametrize("surroundings", [nullcontext, patched_by_another_tool], ids=["alone", "patched"])
@pytest.mark.parametrize("kind", ["loop", "thread"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_keyword_reaches_the_function(stage: InProcessStage, way, kind, surroundings):
    """Instrumented, each keyword arrives or is refused exactly as with bare Starlette, in the same words."""
    with surroundings():
        bare = visited(stage, way, kind, instrumented=False)
        watched = visited(stage, way, kind, instrumented=True)
        afterword.uninstrument(stage.instrumented[-1])
    assert len(bare) > len(KEYWORDS)
    assert watched == bare
    stage.accounts.prometheus.assert_law()
    assert stage.observer_errors("afterword") is None


def test_the_keywords_of_a_batch_that_belongs_to_no_request(stage: InProcessStage):
    """What is added to a batch that was made outside of any request keeps its keywords, too."""
    stage.app()
    batch = BackgroundTasks()
    batch.add_task(print, "one", end="")
    [task] = batch.tasks
    assert (task.args, task.kwargs) == (("one",), {"end": ""})


def test_the_keywords_of_a_batch_of_another_class(stage: InProcessStage):
    """What is added to a batch of a class of the user's keeps its keywords, too."""

    class OwnBatch(BackgroundTasks):
        pass

    async def endpoint() -> None:
        batch = OwnBatch()
        batch.add_task(print, "one", end="")
        told.extend((task.args, task.kwargs) for task in batch.tasks)

    told: list[Any] = []
    ask(stage.app(endpoint))
    assert told == [(("one",), {"end": ""})]


@pytest.mark.parametrize("keyword", ["self", "tasks", "batch"])
def test_the_arguments_of_a_batch(stage: InProcessStage, keyword):
    """`BackgroundTasks` takes by keyword what it takes without us, and refuses the rest in the same words."""

    def endpoint(request) -> PlainTextResponse:
        try:
            return PlainTextResponse("yes", background=BackgroundTasks(**{keyword: [BackgroundTask(print)]}))
        except TypeError as exc:
            return PlainTextResponse(str(exc))

    app = plain_app("/", endpoint)
    bare = ask(app).text
    stage.instrument(app)
    assert ask(app).text == bare
