"""Tools that patch with proxies, as Datadog and New Relic do: what they put in a class has to be bound."""

import functools
import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import wrapt
from fastapi import BackgroundTasks
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteTasks
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

import afterword
from tests.support.asgi import ask
from tests.support.in_process import InProcessStage
from tests.support.story import dropped, failed, request_error, skipped, succeeded

PLACES: tuple[tuple[Any, str], ...] = (
    (BackgroundTask, "__init__"),
    (BackgroundTask, "__call__"),
    (StarletteTasks, "__init__"),
    (BackgroundTasks if "__call__" in vars(BackgroundTasks) else StarletteTasks, "__call__"),
    (StarletteTasks, "add_task"),
    (BackgroundTasks, "add_task"),
    (ExceptionMiddleware, "__call__"),
    (ServerErrorMiddleware, "__call__"),
    (Starlette, "__call__"),
)


class Tool:
    """Another tool; it notes for what it was called, and what the tasks' functions say of themselves."""

    def __init__(self) -> None:
        self.called_for: set[tuple[type, str]] = set()
        self.functions: list[str] = []
        self._undo = ExitStack()

    def install(self) -> None:
        for cls, name in PLACES:
            self._undo.callback(setattr, cls, name, cls.__dict__[name])
            wrapt.wrap_function_wrapper(cls, name, self._wrapper(cls, name))

    def _wrapper(self, cls: type, name: str) -> Callable[..., Any]:
        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            assert isinstance(instance, cls)
            self.called_for.add((cls, name))
            if (cls, name) == (BackgroundTask, "__call__"):
                self.functions.append(f"{instance.func.__module__}.{instance.func.__qualname__}")
            return wrapped(*args, **kwargs)

        return wrapper

    def remove(self) -> None:
        self._undo.close()


@pytest.fixture
def tool(stage: InProcessStage) -> Iterator[Tool]:
    """Provide another tool, and take it out of the classes before the stage looks at them."""
    tool = Tool()
    yield tool
    tool.remove()


@pytest.mark.parametrize("when", ["before", "after", "before, ours again"])
def test_a_tool_that_patches_with_proxies(stage: InProcessStage, tool: Tool, when: str):
    """Before us or after us, the application works, the account is exact, and the tool sees what it always saw."""
    if when != "after":
        tool.install()
    app = stage.app_with(stage.works("mail"), stage.works_in_thread("report"), stage.fails("audit"), print)
    app.get("/dropped")(dropping(stage))
    if when == "after":
        tool.install()
    elif when != "before":
        afterword.uninstrument(app)
        stage.instrument(app)
    assert ask(app).status == 200
    assert ask(app, "/dropped").status == 500
    stage.assert_story(
        *(succeeded("mail"), succeeded("report"), failed("audit"), skipped("print")),
        *(dropped("mail"), request_error(500, "KeyError", "/dropped")),
    )
    assert stage.did == ["mail", "report", "audit fails"]
    assert tool.functions == ["shop.mail", "shop.report", "shop.audit"]
    assert tool.called_for == set(PLACES)


def dropping(stage: InProcessStage) -> Callable[..., Any]:
    """Make an endpoint that drops its task with its request."""

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(stage.works("mail"))
        raise KeyError("boom")

    return endpoint


def test_a_tool_is_shown_what_a_task_really_calls(stage: InProcessStage, tool: Tool):
    """A partial and a callable object are shown to a tool below us under the name of what is called."""
    tool.install()
    app = stage.app_with(functools.partial(stage.works("mail")), Shredder(stage), Shredder(stage).empty)
    assert ask(app).status == 200
    assert stage.did == ["mail", "shredded", "emptied"]
    assert tool.functions == ["shop.mail", f"{__name__}.Shredder", f"{__name__}.Shredder.empty"]


class Shredder:
    """A callable object with a method."""

    def __init__(self, stage: InProcessStage) -> None:
        self.stage = stage

    async def __call__(self) -> None:
        self.stage.did.append("shredded")

    def empty(self) -> None:
        self.stage.did.append("emptied")


class Letter:
    """An argument of a task."""


def test_nothing_of_a_call_is_left_to_the_collector(stage: InProcessStage, tool: Tool):
    """What a task was called with is gone when it has run, also where we stand in for the task before a tool."""
    tool.install()
    letters: list[weakref.ref[Letter]] = []

    async def send(letter: Letter) -> None:
        letters.append(weakref.ref(letter))

    async def endpoint(tasks: BackgroundTasks) -> None:
        tasks.add_task(send, Letter())

    app = stage.app(endpoint)
    with without_collector():
        assert ask(app).status == 200
        assert [letter() for letter in letters] == [None]


@contextmanager
def without_collector() -> Iterator[None]:
    """Leave cycles alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
